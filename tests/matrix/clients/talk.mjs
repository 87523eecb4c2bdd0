// Conversations in, what the client was told of them out: shared by all scripts for Node. It is
// `talk.py` again, whose first page says what is read and written.
import { createInterface } from 'node:readline';

// Milliseconds after which a conversation has hung.
const PATIENCE = 20_000;

const numbers = { x: { type: 'integer' }, y: { type: 'integer' } };

// The client's tools: their names, the JSON Schemas of their arguments, and what they do.
export const TOOLS = {
  add: {
    parameters: { type: 'object', properties: numbers, required: ['x', 'y'] },
    run: ({ x, y }) => String(x + y),
  },
  sub: {
    parameters: { type: 'object', properties: numbers, required: ['x', 'y'] },
    run: ({ x, y }) => String(x - y),
  },
  now: { parameters: { type: 'object', properties: {} }, run: () => '12' },
};

const [api, url] = process.argv.slice(2);

// A conversation to hold; `tools` are the names of those to offer.
class Ask {
  constructor({ prompts, tools, stream, leaves }) {
    Object.assign(this, { api, url, prompts, stream, leaves });
    this.tools = tools ? Object.keys(TOOLS) : [];
    this.ran = [];
  }

  // Run a tool as the client's own loop would. Throws if it was not offered, or its arguments are
  // not JSON.
  run(name, args) {
    const ran = [name, args];
    this.ran.push(ran);
    ran[1] = typeof args === 'string' ? JSON.parse(args) : args;
    if (!this.tools.includes(name)) throw new Error(`no tool ${name} was offered`);
    return TOOLS[name].run(ran[1]);
  }
}

// Hold every conversation that comes on standard input. `talk(ask)` is an async generator.
export async function serve(talk) {
  const say = process.stdout.write.bind(process.stdout);
  console.log = console.warn = console.error = console.info = () => {};
  // A broken connection also rejects promises that some clients do not look after.
  process.on('unhandledRejection', () => {});
  for await (const line of createInterface({ input: process.stdin })) {
    say(`${JSON.stringify(await hold(talk, new Ask(JSON.parse(line))))}\n`);
  }
}

async function hold(talk, ask) {
  const turns = [];
  let error = null;
  try {
    await within(PATIENCE, async () => {
      for await (const turn of talk(ask)) turns.push(turn);
    });
  } catch (thrown) {
    error = described(thrown);
  }
  return { turns, ran: ask.ran, error };
}

async function within(milliseconds, work) {
  let timer;
  const over = new Promise((_, reject) => {
    timer = setTimeout(
      () => reject(Object.assign(new Error('hung'), { name: 'TimeoutError' })),
      milliseconds,
    );
  });
  await Promise.race([work(), over]).finally(() => clearTimeout(timer));
}

// The error, and the HTTP status that it or what caused it knows.
function described(thrown) {
  let status = null;
  for (let cause = thrown; cause && status === null; cause = cause.cause ?? cause.lastError) {
    status = cause.status ?? cause.statusCode ?? null;
  }
  const type = thrown.name === 'Error' ? thrown.constructor.name : (thrown.name ?? typeof thrown);
  const message = String(thrown.message ?? JSON.stringify(thrown)).slice(0, 500);
  return { type, message, status };
}
