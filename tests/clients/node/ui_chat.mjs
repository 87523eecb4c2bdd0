// node ui_chat.mjs BASE PROMPT [text | again NEXT | yes | no [REASON]]: send PROMPT with the chat that
// `useChat` is made of, and print its state at the end and what it told its callbacks. With "text" it
// reads a text stream. With "again" it sends NEXT, too, behind the answer. With "yes" or "no" it is
// asked to approve the last call, and sends that by itself.
import {
  AbstractChat,
  DefaultChatTransport,
  TextStreamChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
} from 'ai';

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

const [base, prompt, mode, reason] = process.argv.slice(2);
const out = { toolCalls: [], data: [] };
let finished = Promise.withResolvers();
const chat = new Chat({
  transport: mode === 'text'
    ? new TextStreamChatTransport({ api: `${base}/text` })
    : new DefaultChatTransport({ api: `${base}/ui` }),
  onToolCall: ({ toolCall }) => void out.toolCalls.push(toolCall),
  onData: (part) => out.data.push(part),
  onFinish: ({ isAbort, isDisconnect, isError, finishReason }) => {
    out.finish = { isAbort, isDisconnect, isError, finishReason };
    finished.resolve();
  },
  sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
});
await chat.sendMessage({ text: prompt });
if (mode === 'again') await chat.sendMessage({ text: reason });
if (mode === 'yes' || mode === 'no') {
  out.asked = chat.messages.at(-1).parts.at(-1);
  finished = Promise.withResolvers();
  const { id } = out.asked.approval;
  await chat.addToolApprovalResponse({ id, approved: mode === 'yes', reason });
  await finished.promise;
}
out.status = chat.status;
out.error = chat.error?.message;
out.messages = chat.messages;
console.log(JSON.stringify(out));
