// node openai.mjs BASE API MODE PROMPT: ask the official client for PROMPT, and print what it makes
// of the answer. API is "chat" or "responses"; MODE is "raw" (the events themselves), "helper" (the
// client's own accumulator) or "whole" (no stream).
import OpenAI from 'openai';

const [baseURL, api, mode, prompt] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: '-', maxRetries: 0, timeout: 10_000 });
const model = 'm';
const messages = [{ role: 'user', content: prompt }];
const usage = { stream_options: { include_usage: true } };
const out = { events: [], answer: null };

const asks = {
  'chat raw': async () => {
    const stream = await client.chat.completions.create({ model, messages, stream: true, ...usage });
    for await (const chunk of stream) out.events.push(chunk);
  },
  'chat helper': async () => {
    const stream = client.chat.completions.stream({ model, messages, ...usage });
    out.answer = await stream.finalChatCompletion();
  },
  'chat whole': async () => {
    out.answer = await client.chat.completions.create({ model, messages });
  },
  'responses raw': async () => {
    const stream = await client.responses.create({ model, input: prompt, stream: true });
    for await (const event of stream) out.events.push(event);
  },
  'responses helper': async () => {
    const stream = client.responses.stream({ model, input: prompt });
    out.answer = await stream.finalResponse();
  },
  'responses whole': async () => {
    out.answer = await client.responses.create({ model, input: prompt });
  },
};

try {
  await asks[`${api} ${mode}`]();
} catch (error) {
  const { status = null, code = null, type = null } = error;
  out.error = { name: error.constructor.name, message: error.message, status, code, type };
}
console.log(JSON.stringify(out));
