// node tanstack_resume.mjs BASE: ask BASE/ag-ui with TanStack AI's ChatClient, which is cut off in
// mid-answer. BASE/say?n=N has the model say N more words.
import { ChatClient, fetchServerSentEvents } from '@tanstack/ai-client';

const [base] = process.argv.slice(2);
const say = (words) => fetch(`${base}/say?n=${words}`, { method: 'POST' });
const out = { deltas: [], ends: 0 };
const client = new ChatClient({
  connection: fetchServerSentEvents(`${base}/ag-ui`),
  onChunk: ({ type, delta }) => {
    if (type === 'TEXT_MESSAGE_CONTENT') {
      out.deltas.push(delta);
      say(1);
    }
    if (type === 'RUN_FINISHED') out.ends += 1;
  },
});
const sending = client.sendMessage('hi');
await say(1);
await sending;
out.error = client.getError()?.message;
const parts = client.getMessages().at(-1).parts;
out.text = parts.filter(({ type }) => type === 'text').map(({ content }) => content).join('');
console.log(JSON.stringify(out));
