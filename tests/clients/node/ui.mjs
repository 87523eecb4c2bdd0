// node ui.mjs BASE PROMPT [HISTORY]: ask BASE/ui as the AI SDK's default transport does, and print
// what `readUIMessageStream` makes of the answer. HISTORY is JSON: the UI messages so far.
import { DefaultChatTransport, readUIMessageStream } from 'ai';

const [base, prompt, history = '[]'] = process.argv.slice(2);
const messages = JSON.parse(history);
if (prompt) {
  messages.push({ id: 'u', role: 'user', parts: [{ type: 'text', text: prompt }] });
}
const last = messages.at(-1);
const out = { chunks: [], message: null };
const recorded = new TransformStream({
  transform(chunk, controller) {
    out.chunks.push(chunk);
    controller.enqueue(chunk);
  },
});
try {
  const transport = new DefaultChatTransport({ api: `${base}/ui` });
  const stream = await transport.sendMessages({
    chatId: 'chat',
    messages,
    trigger: 'submit-message',
  });
  const states = readUIMessageStream({
    message: last.role === 'assistant' ? last : undefined,
    stream: stream.pipeThrough(recorded),
    terminateOnError: true,
  });
  for await (const message of states) out.message = message;
} catch (error) {
  out.error = { name: error.name, message: error.message, status: error.statusCode };
}
console.log(JSON.stringify(out));
