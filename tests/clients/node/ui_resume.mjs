// node ui_resume.mjs BASE WAY: a page of the AI SDK that is closed in mid-answer, and what comes after.
// BASE/say?n=N has the model say N more words. WAY is one of
//   resume    another page with `resume` gets the answer whole, and a third one none
//   stop      the page stops, which to the server is a disconnect; then the server is told, too
//   workflow  `WorkflowChatTransport` is cut off, and gets the rest by itself
//   stopped   the server ends what that one waits for
//   tail      the same one follows from two parts before the end, and is cut off
import { AbstractChat, DefaultChatTransport } from 'ai';
import { WorkflowChatTransport } from '@ai-sdk/workflow/client';

const [base, way] = process.argv.slice(2);
const out = { requests: [], errors: [] };
console.error = (...words) => out.errors.push(words.join(' '));

const say = (words) => fetch(`${base}/say?n=${words}`, { method: 'POST' });
let runId;
// As a browser does for a page of the same site.
const recorded = async (url, init = {}) => {
  const headers = new Headers(init.headers);
  headers.set('sec-fetch-site', 'same-origin');
  const response = await fetch(url, { ...init, headers });
  out.requests.push([init.method ?? 'GET', url.replace(base, ''), response.status]);
  runId = response.headers.get('x-run-id') ?? runId;
  return response;
};

class State {
  status = 'ready';
  error = undefined;
  waiting = [];
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage = (message) => {
    this.messages.push(message);
    this.look();
  };
  popMessage = () => this.messages.pop();
  replaceMessage = (index, message) => {
    this.messages[index] = message;
    this.look();
  };
  snapshot = (value) => structuredClone(value);
  look() {
    this.waiting = this.waiting.filter(([text, resolve]) => textOf(this.messages) !== text || resolve());
  }
  showing = (text) => new Promise((resolve) => {
    this.waiting.push([text, resolve]);
    this.look();
  });
}

class Chat extends AbstractChat {}

const textOf = (messages) =>
  messages
    .filter(({ role }) => role === 'assistant')
    .flatMap(({ parts }) => parts)
    .map((part) => part.text ?? '')
    .join('');

const QUESTION = { id: 'u', role: 'user', parts: [{ type: 'text', text: 'hi' }] };

function page(transport, messages = []) {
  const state = new State(messages);
  const chat = new Chat({ id: 'chat', state, transport });
  return { chat, state, told: () => ({ status: chat.status, text: textOf(chat.messages), messages: chat.messages.length, error: chat.error?.message }) };
}

const plain = () => new DefaultChatTransport({ api: `${base}/ui`, fetch: recorded });

const ways = {
  async resume() {
    out.first = await closedInMidAnswer();
    const second = page(plain(), [QUESTION]);
    const resuming = second.chat.resumeStream();
    await second.state.showing('One ');
    await say(2);
    await resuming;
    out.second = second.told();
    const third = page(plain(), [QUESTION]);
    await third.chat.resumeStream();
    out.third = third.told();
  },
  async stop() {
    out.first = await closedInMidAnswer();
    const state = async (method, path) => {
      const headers = { accept: 'application/json' };
      return (await fetch(`${base}/streams/${runId}${path}`, { method, headers })).json();
    };
    out.before = await state('GET', '');
    out.stopped = await state('POST', '/stop');
    const second = page(plain(), [QUESTION]);
    await second.chat.resumeStream();
    out.second = second.told();
  },
  async workflow() {
    const first = page(new WorkflowChatTransport({ api: `${base}/ui`, fetch: recorded }));
    const sending = first.chat.sendMessage({ text: 'hi' });
    await say(1);
    await first.state.showing('One ');
    await say(1); // behind this word it is cut off
    await first.state.showing('One two ');
    await say(1);
    await sending;
    out.first = first.told();
    out.run = runId;
  },
  async stopped() {
    const first = page(new WorkflowChatTransport({ api: `${base}/ui`, fetch: recorded }));
    const sending = first.chat.sendMessage({ text: 'hi' });
    await say(1);
    await first.state.showing('One ');
    await fetch(`${base}/streams/${runId}/stop`, { method: 'POST' });
    await sending;
    out.first = first.told();
  },
  async tail() {
    await closedInMidAnswer();
    const transport = new WorkflowChatTransport({ api: `${base}/ui`, fetch: recorded, initialStartIndex: -2 });
    out.parts = [];
    for await (const { type, delta } of await transport.reconnectToStream({ chatId: 'chat' })) {
      out.parts.push(delta ?? type);
      if (delta) await say(1);
    }
  },
};

async function closedInMidAnswer() {
  const first = page(plain());
  const sending = first.chat.sendMessage({ text: 'hi' });
  await say(1);
  await first.state.showing('One ');
  await first.chat.stop();
  await sending;
  return first.told();
}

await ways[way]();
console.log(JSON.stringify(out));
