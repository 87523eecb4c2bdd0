// AG-UI's own client, with the loop by which pages answer tool calls.
import { HttpAgent } from '@ag-ui/client';
import { serve, TOOLS } from './talk.mjs';

serve(async function* (ask) {
  const agent = new HttpAgent({ url: `${ask.url}/ag-ui`, threadId: 'thread' });
  const tools = ask.tools.map((name) => ({
    name,
    description: name,
    parameters: TOOLS[name].parameters,
  }));
  for (const [i, prompt] of ask.prompts.entries()) {
    agent.addMessage({ id: `user-${i}`, role: 'user', content: prompt });
    let finished;
    let calls = [null];
    while (calls.length) {
      finished = null;
      let failed;
      const before = agent.messages.length;
      const listening = {
        onEvent: ({ event }) => {
          if (event.type === 'RUN_FINISHED') finished = event;
        },
        onTextMessageContentEvent: () => void (ask.leaves && agent.abortRun()),
        onRunErrorEvent: ({ event }) => void (failed = new Error(event.message)),
        onRunFailed: ({ error }) => void (failed ??= error),
      };
      await agent.runAgent({ tools }, listening);
      if (failed && !ask.leaves) throw failed;
      // What waits for an approval is not the page's to run.
      const asked = agent.pendingInterrupts.map(({ toolCallId }) => toolCallId);
      calls = unanswered(agent.messages.slice(before), asked);
      for (const { id, function: asked } of calls) {
        const content = ask.run(asked.name, asked.arguments);
        agent.addMessage({ id: `result-${id}`, role: 'tool', toolCallId: id, content });
      }
    }
    yield told(agent.messages, finished);
  }
});

function unanswered(messages, asked) {
  const answered = messages.map((message) => message.toolCallId);
  const calls = messages.flatMap((message) => message.toolCalls ?? []);
  return calls.filter(({ id }) => !answered.includes(id) && !asked.includes(id));
}

function told(messages, finished) {
  const since = messages.slice(messages.findLastIndex((message) => message.role === 'user'));
  const joined = (role) =>
    since
      .filter((message) => message.role === role)
      .map((message) => message.content ?? '')
      .join('');
  const usage = finished?.usage?.at?.(-1) ?? finished?.usage;
  return {
    text: joined('assistant'),
    reasoning: joined('reasoning'),
    finish: finished?.metadata?.finishReason,
    usage: usage && [usage.inputTokens, usage.outputTokens],
  };
}
