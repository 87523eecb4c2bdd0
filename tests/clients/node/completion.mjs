// node completion.mjs BASE PROMPT PROTOCOL: complete PROMPT with the call that `useCompletion` is made
// of; PROTOCOL is "data" or "text".
import { callCompletionApi } from 'ai';

const [base, prompt, streamProtocol] = process.argv.slice(2);
const out = { texts: [] };
await callCompletionApi({
  api: `${base}/${streamProtocol === 'text' ? 'text' : 'ui'}`,
  prompt,
  streamProtocol,
  headers: {},
  body: {},
  setCompletion: (text) => out.texts.push(text),
  setLoading: () => {},
  setError: () => {},
  setAbortController: () => {},
  onFinish: (prompt, completion) => (out.completion = completion),
  onError: (error) => (out.error = error.message),
});
console.log(JSON.stringify(out));
