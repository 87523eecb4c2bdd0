// node providers.mjs BASE PROMPT KIND: stream from BASE with one of the AI SDK's own providers,
// which check every event against a schema, and print what they made of the answer.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { jsonSchema, streamText, tool } from 'ai';

const [base, prompt, kind] = process.argv.slice(2);
const settings = { baseURL: base, apiKey: '-', name: 'llmstream', includeUsage: true };
const models = {
  compatible: () => createOpenAICompatible(settings)('m'),
  chat: () => createOpenAI(settings).chat('m'),
  responses: () => createOpenAI(settings).responses('m'),
  anthropic: () => createAnthropic(settings)('m'),
};
const any = tool({ inputSchema: jsonSchema({ type: 'object', additionalProperties: true }) });
const out = { text: '', reasoning: '', toolCalls: [], errors: [] };
globalThis.AI_SDK_LOG_WARNINGS = false;
const { stream } = streamText({
  model: models[kind](),
  prompt,
  tools: { weather: any, time: any },
  maxRetries: 0,
  onError: () => {},
});
function read(part) {
  switch (part.type) {
    case 'text-delta':
      out.text += part.text;
      break;
    case 'reasoning-delta':
      out.reasoning += part.text;
      break;
    case 'tool-call':
      out.toolCalls.push({
        id: part.toolCallId,
        name: part.toolName,
        input: part.input,
        isTheProviders: part.providerExecuted === true,
      });
      break;
    case 'error':
      note(part.error);
      break;
    case 'finish':
      out.finishReason = part.finishReason;
      out.usage = part.totalUsage;
  }
}

function note({ message, statusCode }) {
  out.errors.push({ message, status: statusCode });
}

try {
  for await (const part of stream) read(part);
} catch (error) {
  note(error);
}
console.log(JSON.stringify(out));
