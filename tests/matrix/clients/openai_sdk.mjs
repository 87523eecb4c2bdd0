// The official OpenAI client: chat completions, and Responses.
import OpenAI from 'openai';
import { serve, TOOLS } from './talk.mjs';

const answers = { chat, responses };

serve(async function* (ask) {
  const client = new OpenAI({ baseURL: ask.url, apiKey: '-', maxRetries: 0, timeout: 15_000 });
  const history = [];
  for (const prompt of ask.prompts) {
    history.push({ role: 'user', content: prompt });
    let told = null;
    while (!told) told = await answers[ask.api](client, history, ask);
    yield told;
  }
});

// One answer, noted in the history; null if it asks for tools, whose results are noted too.
async function chat(client, history, ask) {
  const call = { model: 'm', messages: history };
  if (ask.tools.length) {
    call.tools = ask.tools.map((name) => ({
      type: 'function',
      function: { name, parameters: TOOLS[name].parameters },
    }));
  }
  let completion;
  if (ask.stream) {
    const stream = client.chat.completions.stream({
      ...call,
      stream_options: { include_usage: true },
    });
    if (ask.leaves) return leave(stream, ({ choices: [choice] }) => choice?.delta.content);
    completion = await stream.finalChatCompletion();
  } else {
    completion = await client.chat.completions.create(call);
  }
  const [{ message, finish_reason }] = completion.choices;
  const { parsed, ...said } = message;
  history.push(said);
  for (const { id, function: asked } of message.tool_calls ?? []) {
    const content = ask.run(asked.name, asked.arguments);
    history.push({ role: 'tool', tool_call_id: id, content });
  }
  if (message.tool_calls?.length) return null;
  const { usage } = completion;
  return {
    text: message.content ?? '',
    refusal: message.refusal,
    // Of a field that it does not know its helper keeps only the last delta.
    reasoning: ask.stream ? null : message.reasoning_content,
    finish: finish_reason,
    usage: usage && [usage.prompt_tokens, usage.completion_tokens],
  };
}

async function responses(client, history, ask) {
  const call = { model: 'm', input: history, store: false };
  if (ask.tools.length) {
    call.tools = ask.tools.map((name) => ({
      type: 'function',
      name,
      parameters: TOOLS[name].parameters,
      strict: false,
    }));
  }
  let response;
  if (ask.stream) {
    const stream = client.responses.stream(call);
    if (ask.leaves) {
      return leave(stream, (event) => event.type === 'response.output_text.delta' && event.delta);
    }
    response = await stream.finalResponse();
  } else {
    response = await client.responses.create(call);
  }
  history.push(...response.output.map(({ parsed_arguments, ...item }) => item));
  const asked = response.output.filter((item) => item.type === 'function_call');
  for (const { call_id, name, arguments: args } of asked) {
    history.push({ type: 'function_call_output', call_id, output: ask.run(name, args) });
  }
  if (asked.length) return null;
  const inner = (type, key) =>
    response.output.flatMap((item) => (item.type === type ? item[key] : []));
  const { usage } = response;
  return {
    text: response.output_text,
    refusal: inner('message', 'content')
      .map((part) => part.refusal ?? '')
      .join(''),
    reasoning: inner('reasoning', 'summary')
      .map((part) => part.text)
      .join(''),
    finish: response.incomplete_details?.reason,
    usage: usage && [usage.input_tokens, usage.output_tokens],
  };
}

async function leave(stream, textOf) {
  for await (const event of stream) {
    const text = textOf(event);
    if (text) {
      stream.abort();
      return { text };
    }
  }
  throw new Error('the stream had no text');
}
