// TanStack AI's ChatClient, which speaks AG-UI. It runs tools of the page only where the server
// says so in words of its own; the page answers the others through `addToolResult`.
import { ChatClient, fetchServerSentEvents } from '@tanstack/ai-client';
import { serve, TOOLS } from './talk.mjs';

serve(async function* (ask) {
  const client = new ChatClient({
    connection: fetchServerSentEvents(`${ask.url}/ag-ui`),
    tools: ask.tools.map((name) => ({
      __toolSide: 'client',
      name,
      description: name,
      inputSchema: TOOLS[name].parameters,
      execute: async (input) => ask.run(name, input),
    })),
    onChunk: ({ type }) => {
      if (ask.leaves && type === 'TEXT_MESSAGE_CONTENT') queueMicrotask(() => client.stop());
    },
  });
  for (const prompt of ask.prompts) {
    await client.sendMessage(prompt);
    if (client.getError()) throw client.getError();
    for (let calls = unanswered(client, ask); calls.length; calls = unanswered(client, ask)) {
      for (const { id, name, arguments: args } of calls) {
        const output = ask.run(name, args);
        await client.addToolResult({ toolCallId: id, tool: name, output });
        if (client.getError()) throw client.getError();
      }
    }
    yield told(client.getMessages());
  }
});

// The calls of the page's own tools that have no result.
function unanswered(client, ask) {
  const parts = client.getMessages().flatMap((message) => message.parts);
  const answered = parts.filter((part) => part.type === 'tool-result');
  return parts.filter(
    (part) =>
      part.type === 'tool-call' &&
      ask.tools.includes(part.name) &&
      part.output === undefined &&
      !answered.some((result) => result.toolCallId === part.id),
  );
}

function told(messages) {
  const since = messages.slice(messages.findLastIndex((message) => message.role === 'user') + 1);
  const joined = (type) =>
    since
      .flatMap((message) => message.parts)
      .filter((part) => part.type === type)
      .map((part) => part.content)
      .join('');
  return { text: joined('text'), reasoning: joined('thinking') };
}
