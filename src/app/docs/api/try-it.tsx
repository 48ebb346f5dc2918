"use client";

import { useEffect, useId, useState } from "react";
import { Button } from "#ui/button.tsx";
import { CodeBlock } from "#ui/code-block.tsx";
import { TextAreaField, TextField } from "#ui/field.tsx";
import { KeepFocus } from "#ui/keep-focus.tsx";

type Parameter = { name: string; in: string; required: boolean };
type Answer = { status: number; requestId: string | null; text: string; running: boolean };
type Refused = { refused: string };

const KEY = "quota-sandbox-key";
const NOT_SANDBOX = "This key is not in billing mode Sandbox, so nothing was sent: from here only play credits are spent.";

/**
 * Sends one request from the visitor's browser, with a `test` key of the visitor's. The key stays in
 * this tab. A key that spends real credits is recognised and not used.
 */
export function TryIt(operation: {
  method: string;
  path: string;
  summary: string;
  /** Needs no key. */
  open: boolean;
  parameters: readonly Parameter[];
  body: string | null;
}) {
  const { method, path, summary, open, parameters, body: example } = operation;
  const region = useId();
  const [shown, setShown] = useState(false);
  const [key, setKey] = useState("");
  const [values, setValues] = useState<Record<string, string>>(() => defaults(path, parameters));
  const [body, setBody] = useState(example ?? "");
  const [answer, setAnswer] = useState<Answer | Refused | null>(null);
  const busy = answer !== null && "running" in answer && answer.running;

  useEffect(() => {
    if (shown) setKey(sessionStorage.getItem(KEY) ?? "");
  }, [shown]);

  async function send() {
    setAnswer({ status: 0, requestId: null, text: "", running: true });
    try {
      if (!open) {
        sessionStorage.setItem(KEY, key);
        const refusal = await refusalOf(key);
        if (refusal !== null) return setAnswer(refusal);
      }
      const response = await fetch(addressOf(path, parameters, values), {
        method,
        headers: {
          ...(open ? {} : { authorization: `Bearer ${key}` }),
          ...headersOf(parameters, values),
          ...(example === null ? {} : { "content-type": "application/json" }),
        },
        ...(example === null ? {} : { body }),
      });
      const requestId = response.headers.get("x-request-id");
      let text = "";
      // Shows a stream while it arrives.
      for await (const part of textOf(response)) {
        text += part;
        setAnswer({ status: response.status, requestId, text, running: true });
      }
      setAnswer({ status: response.status, requestId, text: pretty(text), running: false });
    } catch {
      setAnswer({ refused: "The server could not be reached." });
    }
  }

  return (
    <KeepFocus>
      {!shown ? (
        <Button size="small" className="mt-4" onClick={() => setShown(true)} aria-label={`Try it: ${summary}`}>
          Try it
        </Button>
      ) : (
        <section aria-labelledby={region} className="mt-5 rounded-lg border border-line bg-surface p-4 sm:p-5">
          <h3 id={region} className="font-semibold">
            Try it: {summary}
          </h3>
          <form
            className="mt-4 space-y-4"
            onSubmit={(event) => {
              event.preventDefault();
              void send();
            }}
          >
            {!open && (
              <TextField
                label="Your sandbox key"
                hint="Make one in the dashboard, under API keys, with billing mode Sandbox. It stays in this tab."
                type="password"
                autoComplete="off"
                spellCheck={false}
                required
                value={key}
                onChange={(event) => setKey(event.target.value.trim())}
              />
            )}
            <div className="grid gap-4 sm:grid-cols-2">
              {parameters.map(({ name, required }) => (
                <TextField
                  key={name}
                  label={name}
                  optional={!required}
                  required={required}
                  value={values[name] ?? ""}
                  onChange={(event) => setValues({ ...values, [name]: event.target.value })}
                />
              ))}
            </div>
            {example !== null && (
              <TextAreaField
                label="Body"
                rows={Math.min(14, example.split("\n").length + 1)}
                spellCheck={false}
                className="font-mono text-[0.8125rem] leading-5"
                value={body}
                onChange={(event) => setBody(event.target.value)}
              />
            )}
            <Button kind="primary" type="submit" unavailable={busy}>
              {busy ? "Sending …" : `Send ${method}`}
            </Button>
          </form>
          <ShownAnswer answer={answer} />
        </section>
      )}
    </KeepFocus>
  );
}

function ShownAnswer({ answer }: { answer: Answer | Refused | null }) {
  return (
    <div aria-live="polite">
      {answer !== null && "refused" in answer && (
        <p className="mt-4 rounded-md bg-danger-wash px-3 py-2 text-sm text-danger">{answer.refused}</p>
      )}
      {answer !== null && "status" in answer && answer.status > 0 && (
        <div className="mt-4">
          <p className="text-sm">
            <span className={answer.status < 400 ? "font-medium text-accent" : "font-medium text-danger"}>Status {answer.status}</span>
            {answer.requestId !== null && (
              <span className="ml-3 font-mono text-xs text-soft [overflow-wrap:anywhere]">{answer.requestId}</span>
            )}
          </p>
          <CodeBlock label="The answer" className="mt-2 max-h-96 overflow-y-auto bg-sunken">
            {answer.text}
          </CodeBlock>
        </div>
      )}
    </div>
  );
}

function defaults(path: string, parameters: readonly Parameter[]): Record<string, string> {
  return Object.fromEntries(
    parameters.map(({ name, required }) => {
      // An optional filter is left empty, so that the first answer is not empty.
      if (name === "external_user_id") return [name, required ? "user_123" : ""];
      if (name === "id" && path.startsWith("/v1/models")) return [name, "gpt-4o-mini"];
      return [name, required && name === "Idempotency-Key" ? crypto.randomUUID() : ""];
    }),
  );
}

/** Why this key may not be used; null when it may. */
async function refusalOf(key: string): Promise<Refused | null> {
  const response = await fetch("/v1/me", { headers: { authorization: `Bearer ${key}` } });
  const me = (await response.json()) as { billing_mode?: string; error?: { message: string } };
  if (me.error !== undefined) return { refused: me.error.message };
  return me.billing_mode === "test" ? null : { refused: NOT_SANDBOX };
}

function addressOf(path: string, parameters: readonly Parameter[], values: Record<string, string>): string {
  let address = path;
  const query = new URLSearchParams();
  for (const { name, in: place } of parameters) {
    const value = values[name] ?? "";
    if (place === "path") address = address.replace(`{${name}}`, encodeURIComponent(value));
    if (place === "query" && value !== "") query.set(name, value);
  }
  return query.size === 0 ? address : `${address}?${query}`;
}

function headersOf(parameters: readonly Parameter[], values: Record<string, string>): Record<string, string> {
  const given = parameters.filter(({ name, in: place }) => place === "header" && (values[name] ?? "") !== "");
  return Object.fromEntries(given.map(({ name }) => [name, values[name] as string]));
}

async function* textOf(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const part = await reader?.read();
    if (part === undefined || part.done) return;
    yield part.value;
  }
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
