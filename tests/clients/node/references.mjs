// node references.mjs BASE: two turns with a tool, in which the AI SDK's provider for OpenAI refers
// to what was answered before by its items' ids.
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, jsonSchema, stepCountIs, tool } from 'ai';

const [baseURL] = process.argv.slice(2);
globalThis.AI_SDK_LOG_WARNINGS = false;
const out = { sent: [], texts: [], errors: [] };

async function noting(url, init) {
  out.sent.push(...JSON.parse(init.body).input.map(({ type }) => type));
  return fetch(url, init);
}

const weather = tool({
  inputSchema: jsonSchema({ type: 'object', properties: {} }),
  execute: async () => 'Sunny.',
});
const messages = [];
for (const content of ['How is it?', 'And now?']) {
  messages.push({ role: 'user', content });
  try {
    const { text, response } = await generateText({
      model: createOpenAI({ baseURL, apiKey: '-', fetch: noting })('m'),
      messages,
      tools: content === 'And now?' ? {} : { weather },
      stopWhen: stepCountIs(3),
      maxRetries: 0,
    });
    messages.push(...response.messages);
    out.texts.push(text);
  } catch ({ message }) {
    out.errors.push(message);
  }
}
console.log(JSON.stringify(out));
