// node streams.mjs FILE: read whole bodies with the clients' own pipelines, no socket between.
// FILE is JSON, a list of [client, body]; prints for each what it read, or the error.
import { readFile } from 'node:fs/promises';
import { HttpAgent } from '@ag-ui/client';
import * as newest from 'ai';
import * as v5 from 'ai-v5';
import * as v6 from 'ai-v6';
import * as v7 from 'ai-v7';

const answer = (body) => async () =>
  new Response(body, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } });

const ui = (ai) => async (body, out) => {
  const transport = new ai.DefaultChatTransport({ api: 'http://localhost/', fetch: answer(body) });
  const messages = [{ id: 'u', role: 'user', parts: [{ type: 'text', text: 'Hi' }] }];
  const stream = await transport.sendMessages({ chatId: 'c', messages, trigger: 'submit-message' });
  for await (const { parts } of ai.readUIMessageStream({ stream, terminateOnError: true })) {
    out.text = parts.map((part) => (part.type === 'text' ? part.text : '')).join('');
    out.calls = parts.filter((part) => part.type.startsWith('tool-')).map((part) => part.state);
  }
};

const clients = {
  ui: ui(newest),
  'ui-v5': ui(v5),
  'ui-v6': ui(v6),
  'ui-v7': ui(v7),
  async 'ag-ui'(body, out) {
    const agent = new HttpAgent({ url: 'http://localhost/', fetch: answer(body) });
    await agent.runAgent({}, {
      onRunErrorEvent: ({ event }) => void (out.error = event.message),
      onRunFinishedEvent: () => void (out.finished = true),
    });
    const said = agent.messages.filter(({ role }) => role === 'assistant');
    out.text = said.map(({ content }) => content ?? '').join('');
    out.calls = said.flatMap(({ toolCalls }) => toolCalls ?? []).map(({ id }) => id);
  },
};

const warnings = [];
console.warn = (...words) => warnings.push(words.join(' '));
console.error = () => {};
const results = [];
for (const [client, body] of JSON.parse(await readFile(process.argv[2], 'utf8'))) {
  const out = { text: '', calls: [] };
  try {
    await clients[client](body, out);
  } catch (error) {
    out.error = error.message;
  }
  results.push(out);
}
console.log(JSON.stringify({ results, warnings }));
