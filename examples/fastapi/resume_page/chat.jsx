import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";

// Nobody else knows the conversation's name, so that nobody else can follow it.
const id = (localStorage.id ??= crypto.randomUUID());
const earlier = JSON.parse(localStorage.messages ?? "[]");

let run; // the id of the answer's stream, which Stop needs
const transport = new DefaultChatTransport({
  api: "/v1/ui",
  fetch: async (...request) => {
    const response = await fetch(...request);
    run = response.headers.get("x-run-id") ?? run;
    return response;
  },
});
const stop = () => fetch(`/v1/streams/${run}/stop`, { method: "POST" });

function Chat() {
  const { messages, sendMessage, status } = useChat({ id, messages: earlier, transport, resume: true });
  useEffect(() => void (localStorage.messages = JSON.stringify(messages)), [messages]);
  const send = (form) => sendMessage({ text: form.get("text") });
  const text = ({ parts }) => parts.map((part) => part.text).join("");
  return <>
    {messages.map((message) => <p key={message.id} className={message.role}>{text(message)}</p>)}
    {status === "ready"
      ? <form action={send}><input name="text" autoFocus /></form>
      : <button onClick={stop}>Stop</button>}
  </>;
}

createRoot(document.querySelector("main")).render(<Chat />);
