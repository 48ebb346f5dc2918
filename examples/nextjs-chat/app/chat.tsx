"use client";

import { formatCreditsExactly, QuotaBuyCredits, QuotaConnectButton, useQuota } from "@usequota/nextjs";
import { type FormEvent, type KeyboardEvent, useCallback, useEffect, useRef, useState } from "react";
import type { ChatLine } from "./api/chat/route.ts";
import { News } from "./news.tsx";

type Message = { role: "user" | "assistant"; content: string; model?: string; cost?: number };
/** State that is kept while the user connects or tops up: the conversation, the waiting question, and the unsent text. */
type Kept = { messages: Message[]; waiting: string | null; model: string; draft: string };

const MODELS = ["gpt-4o-mini", "gpt-4o"];

export function Chat({ userId }: { userId: string }) {
  const quota = useQuota();
  const storageKey = `acme-chat:${userId}`;
  const [messages, setMessages] = useState<Message[]>([]);
  const [draft, setDraft] = useState("");
  const [model, setModel] = useState(MODELS[0] as string);
  const [answering, setAnswering] = useState(false);
  const [waiting, setWaiting] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [restored, setRestored] = useState(false);
  const stop = useRef<AbortController | null>(null);
  const end = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  /** The wallet's figures when it could not pay: when they change, the question is sent again. */
  const broke = useRef<string | null>(null);

  useEffect(() => {
    try {
      const kept = JSON.parse(sessionStorage.getItem(storageKey) ?? "null") as Kept | null;
      if (kept !== null) {
        setMessages(kept.messages);
        setWaiting(kept.waiting);
        setModel(kept.model);
        setDraft(kept.draft ?? "");
      }
    } catch {
      // Unreadable state is dropped.
    }
    setRestored(true);
  }, [storageKey]);
  useEffect(() => {
    if (restored && !answering) sessionStorage.setItem(storageKey, JSON.stringify({ messages, waiting, model, draft } satisfies Kept));
  }, [restored, answering, messages, waiting, model, draft, storageKey]);
  useEffect(() => {
    if (messages.length > 0) end.current?.scrollIntoView({ block: "end" });
  }, [messages]);

  const { report, refresh, setBalance, user } = quota;
  const wallet = user === null ? null : `${user.balance} ${user.limit} ${user.spent}`;

  const ask = useCallback(
    async (question: string) => {
      const history: Message[] = [...messages, { role: "user", content: question }];
      const controller = new AbortController();
      stop.current = controller;
      setProblem(null);
      setWaiting(null);
      setAnswering(true);
      setMessages([...history, { role: "assistant", content: "", model }]);
      let answer = "";
      let cost: number | undefined;
      const show = () => setMessages([...history, { role: "assistant", content: answer, model, ...(cost === undefined ? {} : { cost }) }]);
      try {
        await send({ model, messages: history.map(({ role, content }) => ({ role, content })) }, controller.signal, (line) => {
          if ("text" in line) answer += line.text;
          else if ("quota" in line) {
            cost = line.quota.credits_used;
            if (line.quota.balance_after !== null) setBalance(line.quota.balance_after);
          } else throw new Refused(line.error.code, line.error.message);
          show();
        });
        report(null);
      } catch (error) {
        if (answer === "") setMessages(messages);
        if (error instanceof Refused && (error.code === "insufficient_credits" || error.code === "spending_limit_reached")) {
          broke.current = wallet;
          setWaiting(question);
          report(error.code);
        } else {
          if (error instanceof Refused) report(error.code);
          if (answer === "") setDraft(question);
          if (!controller.signal.aborted)
            setProblem(error instanceof Refused ? error.message : "There is no connection. Try again in a moment.");
        }
      } finally {
        setAnswering(false);
        stop.current = null;
        // The monthly limit has changed too.
        void refresh();
        input.current?.focus();
      }
    },
    [messages, model, report, refresh, setBalance, wallet],
  );

  // After a top-up, here or in another tab, the waiting question is answered.
  useEffect(() => {
    if (!restored || waiting === null || answering || wallet === null || wallet === broke.current) return;
    const first = broke.current === null;
    broke.current = wallet;
    // The first figures after a refusal are those that were not enough.
    if (first || quota.shortage !== null) void ask(waiting);
  }, [restored, waiting, answering, wallet, quota.shortage, ask]);

  function submit(event?: FormEvent) {
    event?.preventDefault();
    const question = draft.trim();
    if (question === "" || answering) return;
    setDraft("");
    void ask(question);
  }
  function onKey(event: KeyboardEvent) {
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      submit();
    }
  }

  const connected = quota.status === "connected";
  return (
    <>
      <main className="talk">
        {messages.length === 0 && waiting === null && (
          <div className="hello">
            <h1>{connected ? "What would you like to know?" : "Connect your wallet to chat"}</h1>
            <p className="soft">
              {connected
                ? "Each answer is paid from your own wallet. What it cost stands below it."
                : "You pay for your own answers, a fraction of a cent each, and set how much we may spend in a month."}
            </p>
          </div>
        )}
        <ol className="messages" aria-label="Conversation">
          {messages.map((message, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: messages are only added at the end
            <li key={index} className={`message ${message.role}`}>
              <span className="hidden">{message.role === "user" ? "You: " : "Acme Chat: "}</span>
              <div className="bubble">
                {message.content ||
                  (answering && (
                    <span className="dots">
                      <span className="hidden">Thinking</span>
                    </span>
                  ))}
              </div>
              {message.cost !== undefined && (
                <p className="cost" title={`${message.cost} credits`}>
                  {message.model} · {formatCreditsExactly(message.cost)}
                </p>
              )}
            </li>
          ))}
          {waiting !== null && (
            <li className="message user waiting">
              <span className="hidden">Not answered yet: </span>
              <div className="bubble">{waiting}</div>
            </li>
          )}
        </ol>
        {!connected && <QuotaConnectButton className="connect-here" returnTo="/" />}
        {connected && waiting !== null && quota.shortage !== null && (
          <div className="short">
            <QuotaBuyCredits returnTo="/" />
            <p className="note">Your question is kept. It is asked again as soon as your wallet can pay for it.</p>
            <button
              type="button"
              className="plain"
              onClick={() => {
                setDraft(waiting);
                setWaiting(null);
                report(null);
                input.current?.focus();
              }}
            >
              Change the question
            </button>
          </div>
        )}
        <p role="alert" className="problem">
          {problem}
        </p>
        <div ref={end} />
      </main>
      <form className="ask" onSubmit={submit}>
        <label className="hidden" htmlFor="question">
          Your question
        </label>
        <textarea
          id="question"
          ref={input}
          value={draft}
          rows={2}
          disabled={!connected}
          placeholder={connected ? "Ask something" : "Connect your wallet first"}
          onChange={(event) => setDraft(event.target.value)}
          onKeyDown={onKey}
        />
        <div className="ask-row">
          <label className="hidden" htmlFor="model">
            Model
          </label>
          <select id="model" value={model} onChange={(event) => setModel(event.target.value)}>
            {MODELS.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
          {answering ? (
            <button type="button" className="primary" onClick={() => stop.current?.abort()}>
              Stop
            </button>
          ) : (
            <button type="submit" className="primary" disabled={!connected || draft.trim() === ""}>
              Send
            </button>
          )}
        </div>
        <News busy={answering} />
      </form>
    </>
  );
}

class Refused extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Sends a question and passes each line of the answer to `take` as it arrives. */
async function send(body: object, signal: AbortSignal, take: (line: ChatLine) => void): Promise<void> {
  const response = await fetch("/api/chat", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok || response.body === null) {
    const answer = (await response.json().catch(() => null)) as { error?: { code: string; message: string } } | null;
    throw new Refused(answer?.error?.code ?? "unknown", answer?.error?.message ?? "That did not work. Try again in a moment.");
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop() as string;
    for (const line of lines) take(JSON.parse(line) as ChatLine);
  }
}
