// The AI SDK's page: the chat that `useChat` is made of, with its default transport.
import {
  AbstractChat,
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithToolCalls,
} from 'ai';
import { serve } from './talk.mjs';

class State {
  status = 'ready';
  error = undefined;
  messages = [];
  pushMessage = (message) => this.messages.push(message);
  popMessage = () => this.messages.pop();
  replaceMessage = (index, message) => (this.messages[index] = message);
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(options) {
    super({ ...options, state: new State() });
  }
}

serve(async function* (ask) {
  const settled = new Settled();
  const chat = new Chat({
    transport: new DefaultChatTransport({
      api: `${ask.url}/ui`,
      fetch: (...request) => settled.counting(fetch(...request)),
    }),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    onToolCall: ({ toolCall }) => {
      const answer = { tool: toolCall.toolName, toolCallId: toolCall.toolCallId };
      const output = ask.run(toolCall.toolName, toolCall.input);
      const add = chat.addToolOutput ?? chat.addToolResult; // of 6 and 5
      void add({ ...answer, output });
    },
    onFinish: () => settled.finished(),
  });
  for (const prompt of ask.prompts) {
    const sent = chat.sendMessage({ text: prompt });
    if (ask.leaves) {
      yield await leave(chat);
      await sent;
      return;
    }
    await sent;
    await settled.quiet();
    if (chat.error) throw chat.error;
    yield told(chat.lastMessage);
  }
});

// Knows when the chat asks no more by itself: each request has its `onFinish`.
class Settled {
  #open = 0;
  #waiting = [];

  counting(response) {
    this.#open += 1;
    return response;
  }

  finished() {
    this.#open -= 1;
    // What sends the next request by itself runs right behind this.
    setTimeout(() => {
      if (this.#open === 0) for (const resolve of this.#waiting.splice(0)) resolve();
    }, 50);
  }

  quiet() {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#open === 0) this.finishedAlready();
    });
  }

  finishedAlready() {
    this.#open += 1;
    this.finished();
  }
}

async function leave(chat) {
  const words = ({ role, parts }) => role === 'assistant' && parts.some((part) => part.text);
  while (!words(chat.lastMessage ?? { parts: [] })) {
    if (chat.error) throw chat.error;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const message = told(chat.lastMessage);
  await chat.stop();
  return message;
}

function told({ parts, metadata }) {
  const joined = (type) =>
    parts
      .filter((part) => part.type === type)
      .map((part) => part.text)
      .join('');
  const usage = metadata?.usage;
  return {
    text: joined('text'),
    reasoning: joined('reasoning'),
    usage: usage && [usage.inputTokens, usage.outputTokens],
  };
}
