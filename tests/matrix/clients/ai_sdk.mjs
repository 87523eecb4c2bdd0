// The AI SDK as a model's client, with each provider of its own that speaks what we serve.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import { serve, TOOLS } from './talk.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;

const models = {
  compatible: (settings) => createOpenAICompatible({ ...settings, name: 'ours', includeUsage: true })('m'),
  chat: (settings) => createOpenAI(settings).chat('m'),
  responses: (settings) => createOpenAI(settings).responses('m'),
  messages: (settings) => createAnthropic({ ...settings, baseURL: `${settings.baseURL}/v1` })('m'),
};

serve(async function* (ask) {
  const settings = { baseURL: ask.url, apiKey: '-' };
  const tools = ask.tools.map((name) => [
    name,
    tool({
      inputSchema: jsonSchema(TOOLS[name].parameters),
      execute: async (input) => ask.run(name, input),
    }),
  ]);
  const history = [];
  for (const prompt of ask.prompts) {
    history.push({ role: 'user', content: prompt });
    const call = {
      model: models[ask.api](settings),
      messages: history,
      tools: tools.length ? Object.fromEntries(tools) : undefined,
      stopWhen: stepCountIs(5),
      maxRetries: 0,
      providerOptions: { openai: { store: false } }, // else it sends references to what we keep not
    };
    if (ask.leaves) {
      yield await leave(call);
      return;
    }
    const result = ask.stream ? await streamed(call) : await generateText(call);
    noteStrangers(await result.steps, ask);
    const { messages } = await result.response;
    history.push(...messages);
    const usage = await result.usage;
    yield {
      text: await result.text,
      reasoning: await result.reasoningText,
      finish: await result.finishReason,
      usage: usage.inputTokens === undefined ? null : [usage.inputTokens, usage.outputTokens],
    };
  }
});

// The SDK answers a call of a tool that was not offered with an error, and goes on.
function noteStrangers(steps, ask) {
  for (const { toolName, input, providerExecuted } of steps.flatMap((step) => step.toolCalls)) {
    if (!providerExecuted && !ask.tools.includes(toolName)) ask.run(toolName, input);
  }
}

async function streamed(call) {
  const failed = [];
  const result = streamText({ ...call, onError: ({ error }) => void failed.push(error) });
  await result.consumeStream();
  if (failed.length) throw failed[0];
  return result;
}

async function leave(call) {
  const leaving = new AbortController();
  for await (const text of streamText({ ...call, abortSignal: leaving.signal }).textStream) {
    leaving.abort();
    return { text };
  }
  throw new Error('the stream had no text');
}
