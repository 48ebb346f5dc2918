import type { ReactNode } from "react";
import { classes } from "./classes.ts";

/** How a request is paid for: a sequence diagram of an app and Quota. */
export function FlowDiagram() {
  return (
    <figure className="rounded-xl border border-line bg-surface p-4 shadow-xs sm:p-6" aria-labelledby="flow-caption">
      <ol className="relative text-sm">
        {/* The two lifelines run behind the messages. */}
        <Lifeline className="left-12 sm:left-14" />
        <Lifeline className="right-18 sm:right-22" accent />
        <li aria-hidden="true" className="relative flex justify-between">
          <span className="w-24 rounded-lg border border-line-strong/70 bg-surface py-2 text-center font-medium sm:w-28">Your app</span>
          <span className="w-36 rounded-lg bg-accent py-2 text-center font-medium text-on-accent sm:w-44">Quota</span>
        </li>
        <Message step={1} label="Connect Wallet (OAuth)" note="stores the link" />
        <Message
          step={2}
          label={
            <>
              <code className="whitespace-nowrap font-mono font-medium text-accent">X-Quota-User: 123</code>
              <span className="block text-soft">+ API key</span>
            </>
          }
          note={
            <>
              looks up the linked user
              <span className="mt-1 block border-t border-accent/25 pt-1">bills their balance</span>
            </>
          }
        />
        <Message step={3} label="Response" back />
      </ol>
      <figcaption id="flow-caption" className="mt-4 border-t border-line pt-4 text-sm leading-5 text-soft">
        A person connects their wallet once. From then on your server names them, and holds no tokens.
      </figcaption>
    </figure>
  );
}

function Lifeline({ className, accent = false }: { className: string; accent?: boolean }) {
  return (
    <span
      aria-hidden="true"
      className={classes("absolute bottom-0 top-6 w-px", accent ? "bg-accent/45" : "bg-line-strong/60", className)}
    />
  );
}

function Message({ step, label, note, back = false }: { step: number; label: ReactNode; note?: ReactNode; back?: boolean }) {
  return (
    <li className="relative pt-4 last:pb-5">
      <div className="ml-12 mr-18 sm:ml-14 sm:mr-22">
        <p className="px-4 text-center text-[0.8125rem] leading-5">{label}</p>
        <div className="relative mt-1.5">
          <Arrow back={back} />
          <span
            aria-hidden="true"
            className="absolute -left-2.5 -top-1.25 flex size-5 items-center justify-center rounded-full border border-line-strong/70 bg-surface text-[0.6875rem] font-medium leading-none tabular-nums"
          >
            {step}
          </span>
        </div>
      </div>
      {note && (
        <p className="mt-2.5 flex justify-end">
          <span className="w-36 rounded-md border border-accent/30 bg-accent-wash px-2 py-1.5 text-center text-xs leading-4 sm:w-44">
            {note}
          </span>
        </p>
      )}
    </li>
  );
}

/** As wide as its container; the head keeps its proportions. */
function Arrow({ back }: { back: boolean }) {
  const head = (
    <svg
      viewBox="0 0 10 10"
      className="absolute top-0 size-2.5 text-ink"
      style={back ? { left: "0.625rem" } : { right: 0 }}
      aria-hidden="true"
    >
      <path d={back ? "M10 0.5 L1 5 L10 9.5 Z" : "M0 0.5 L9.5 5 L0 9.5 Z"} fill="currentColor" />
    </svg>
  );
  return (
    <>
      <svg viewBox="0 0 200 10" preserveAspectRatio="none" className="block h-2.5 w-full text-ink/75" aria-hidden="true">
        <line
          x1={back ? 8 : 0}
          x2={back ? 200 : 196}
          y1="5"
          y2="5"
          stroke="currentColor"
          strokeWidth="1.5"
          strokeDasharray={back ? "5 4" : undefined}
          vectorEffect="non-scaling-stroke"
        />
      </svg>
      {head}
    </>
  );
}
