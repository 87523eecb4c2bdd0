// node ag_ui.mjs BASE PROMPT [HISTORY]: run the agent at BASE/ag-ui, and print the events that
// passed the client's own checks and the messages that it made of them.
import { HttpAgent } from '@ag-ui/client';

const [base, prompt, history = '[]'] = process.argv.slice(2);
const out = { events: [], warnings: [] };
console.warn = (...words) => out.warnings.push(words.join(' '));
console.error = () => {}; // of failed runs, which are told below
// A broken connection also rejects a promise that the client does not look after.
process.on('unhandledRejection', () => {});

const agent = new HttpAgent({ url: `${base}/ag-ui`, threadId: 'thread' });
agent.setMessages(JSON.parse(history));
if (prompt) agent.addMessage({ id: 'u', role: 'user', content: prompt });
const tools = [{ name: 'weather', description: 'Tells it.', parameters: { type: 'object' } }];
try {
  const { result, newMessages } = await agent.runAgent(
    { runId: 'run', tools },
    {
      onEvent: ({ event }) => void out.events.push(event),
      onRunFailed: ({ error }) => void (out.failed = error.message),
    },
  );
  out.result = result;
  out.newMessages = newMessages;
} catch (error) {
  out.error = { name: error.name, message: error.message, status: error.status };
}
out.messages = agent.messages;
console.log(JSON.stringify(out));
