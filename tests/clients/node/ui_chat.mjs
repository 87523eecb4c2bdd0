// node ui_chat.mjs BASE PROMPT [text]: send PROMPT with the chat that `useChat` is made of, and print
// its state at the end and what it told its callbacks. With "text" it reads a text stream.
import { AbstractChat, DefaultChatTransport, TextStreamChatTransport } from 'ai';

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

const [base, prompt, text] = process.argv.slice(2);
const out = { toolCalls: [], data: [] };
const chat = new Chat({
  transport: text
    ? new TextStreamChatTransport({ api: `${base}/text` })
    : new DefaultChatTransport({ api: `${base}/ui` }),
  onToolCall: ({ toolCall }) => void out.toolCalls.push(toolCall),
  onData: (part) => out.data.push(part),
  onFinish: ({ isAbort, isDisconnect, isError, finishReason }) =>
    (out.finish = { isAbort, isDisconnect, isError, finishReason }),
});
await chat.sendMessage({ text: prompt });
out.status = chat.status;
out.error = chat.error?.message;
out.messages = chat.messages;
console.log(JSON.stringify(out));
