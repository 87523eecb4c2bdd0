// node ag_ui.mjs BASE PROMPT [HISTORY [ANSWER]]: run the agent at BASE/ag-ui, and print the events that
// passed the client's own checks and the messages that it made of them. With an ANSWER it runs once
// more, in which the interrupts of the first run are resolved with that.
import { HttpAgent, buildResumeArray } from '@ag-ui/client';

const [base, prompt, history = '[]', answer] = process.argv.slice(2);
const out = { events: [], warnings: [] };
console.warn = (...words) => out.warnings.push(words.join(' '));
console.error = () => {}; // of failed runs, which are told below
// A broken connection also rejects a promise that the client does not look after.
process.on('unhandledRejection', () => {});

const agent = new HttpAgent({ url: `${base}/ag-ui`, threadId: 'thread' });
agent.setMessages(JSON.parse(history));
if (prompt) agent.addMessage({ id: 'u', role: 'user', content: prompt });
const tools = [{ name: 'weather', description: 'Tells it.', parameters: { type: 'object' } }];
const subscriber = {
  onEvent: ({ event }) => void out.events.push(event),
  onRunFailed: ({ error }) => void (out.failed = error.message),
};
try {
  let run = await agent.runAgent({ runId: 'run', tools }, subscriber);
  if (answer) {
    out.interrupts = [...agent.pendingInterrupts];
    const payload = JSON.parse(answer);
    const responses = out.interrupts.map(({ id }) => [id, { status: 'resolved', payload }]);
    const resume = buildResumeArray(out.interrupts, Object.fromEntries(responses));
    run = await agent.runAgent({ runId: 'again', tools, resume }, subscriber);
    out.pending = agent.pendingInterrupts;
  }
  out.result = run.result;
  out.newMessages = run.newMessages;
} catch (error) {
  out.error = { name: error.name, message: error.message, status: error.status };
}
out.messages = agent.messages;
out.state = agent.state;
console.log(JSON.stringify(out));
