// node fetch_event_source.mjs BASE PROMPT [PATH]: post a chat completion request to BASE/PATH (by
// default /chat/completions), and print every message that arrives.
globalThis.window = globalThis; // it is made for browsers
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import('@microsoft/fetch-event-source');

const [base, prompt, path = '/chat/completions'] = process.argv.slice(2);
const messages = [{ role: 'user', content: prompt }];
const offered = ['weather', 'time'].map((name) => ({ type: 'function', function: { name } }));
const out = { messages: [] };
try {
  await fetchEventSource(base + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ stream: true, messages, tools: offered }),
    openWhenHidden: true,
    onopen: async (response) => {
      out.status = response.status;
      if (!response.ok) throw new Error(await response.text());
    },
    onmessage: (message) => void out.messages.push(message),
    onerror: (error) => {
      throw error; // or it would ask again
    },
  });
} catch (error) {
  out.error = { name: error.name, message: error.message };
}
console.log(JSON.stringify(out));
