// The official Anthropic client: messages, and its tool runner.
import Anthropic from '@anthropic-ai/sdk';
import { serve, TOOLS } from './talk.mjs';

const answers = { messages, tool_runner };

serve(async function* (ask) {
  const client = new Anthropic({ baseURL: ask.url, apiKey: '-', maxRetries: 0, timeout: 15_000 });
  const history = [];
  for (const prompt of ask.prompts) {
    history.push({ role: 'user', content: prompt });
    yield await answers[ask.api](client, history, ask);
  }
});

async function messages(client, history, ask) {
  const tools = ask.tools.map((name) => ({ name, input_schema: TOOLS[name].parameters }));
  while (true) {
    const call = { model: 'm', max_tokens: 100, tools, messages: history };
    let message;
    if (ask.stream) {
      const stream = client.messages.stream(call);
      if (ask.leaves) return leave(stream);
      message = await stream.finalMessage();
    } else {
      message = await client.messages.create(call);
    }
    history.push({ role: 'assistant', content: message.content });
    if (message.stop_reason !== 'tool_use') return told(message);
    const content = message.content
      .filter((block) => block.type === 'tool_use')
      .map(({ id, name, input }) => ({
        type: 'tool_result',
        tool_use_id: id,
        content: ask.run(name, input),
      }));
    history.push({ role: 'user', content });
  }
}

async function tool_runner(client, history, ask) {
  const tools = ask.tools.map((name) => ({
    name,
    input_schema: TOOLS[name].parameters,
    run: async (input) => ask.run(name, input),
    parse: (input) => input,
  }));
  const { stream } = ask;
  const runner = client.beta.messages.toolRunner({
    model: 'm',
    max_tokens: 100,
    messages: history,
    tools,
    stream,
  });
  let message;
  if (ask.leaves) return leave((await runner[Symbol.asyncIterator]().next()).value);
  for await (const answered of runner) {
    message = stream ? await answered.finalMessage() : answered;
    // The runner answers a call of a tool that was not offered with an error, and goes on.
    for (const { type, name, input } of message.content) {
      if (type === 'tool_use' && !ask.tools.includes(name)) ask.run(name, input);
    }
  }
  history.push({ role: 'assistant', content: message.content });
  return told(message);
}

async function leave(stream) {
  for await (const event of stream) {
    if (event.delta?.type === 'text_delta') {
      stream.abort();
      return { text: event.delta.text };
    }
  }
  throw new Error('the stream had no text');
}

function told({ content, stop_reason, usage }) {
  const inner = (type, key) =>
    content
      .filter((block) => block.type === type)
      .map((block) => block[key])
      .join('');
  return {
    text: inner('text', 'text'),
    reasoning: inner('thinking', 'thinking'),
    finish: stop_reason,
    usage: [usage.input_tokens + (usage.cache_read_input_tokens ?? 0), usage.output_tokens],
  };
}
