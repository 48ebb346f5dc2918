import type { ReactNode } from "react";

/** How a request is paid for: an app and Quota as two lifelines, and what goes between them. */
export function FlowDiagram() {
  return (
    <figure className="rounded-xl border border-line bg-surface p-4 sm:p-6" aria-labelledby="flow-caption">
      <ol className="relative text-sm">
        {/* The two lifelines run behind the messages. */}
        <span aria-hidden="true" className="absolute bottom-0 left-12 top-6 w-px bg-line sm:left-14" />
        <span aria-hidden="true" className="absolute bottom-0 right-14 top-6 w-px bg-line sm:right-20" />
        <li aria-hidden="true" className="relative flex justify-between">
          <span className="w-24 rounded-md border border-line-strong/60 bg-surface py-2 text-center font-medium sm:w-28">Your app</span>
          <span className="w-28 rounded-md bg-accent py-2 text-center font-medium text-on-accent sm:w-40">Quota</span>
        </li>
        <Message label="Connect Wallet (OAuth)" note="stores the link" />
        <Message
          label={
            <>
              <code className="font-mono text-accent">X-Quota-User: 123</code>
              <br />+ API key
            </>
          }
          note={
            <>
              looks up the linked user, <br className="max-sm:hidden" />
              bills their balance
            </>
          }
        />
        <Message label="Response" back />
      </ol>
      <figcaption id="flow-caption" className="mt-4 border-t border-line pt-4 text-sm leading-5 text-soft">
        A person connects their wallet once. From then on your server names them, and holds no tokens.
      </figcaption>
    </figure>
  );
}

function Message({ label, note, back = false }: { label: ReactNode; note?: ReactNode; back?: boolean }) {
  return (
    <li className="relative pt-4 last:pb-5">
      <div className="ml-12 mr-14 sm:ml-14 sm:mr-20">
        <p className="px-3 text-center text-[0.8125rem] leading-5">{label}</p>
        <svg viewBox="0 0 200 10" preserveAspectRatio="none" className="mt-1 block h-2.5 w-full" aria-hidden="true">
          <line
            x1="0"
            x2="200"
            y1="5"
            y2="5"
            className="stroke-line-strong"
            strokeWidth="1.5"
            strokeDasharray={back ? "4 4" : undefined}
            vectorEffect="non-scaling-stroke"
          />
        </svg>
        <span
          aria-hidden="true"
          className={back ? "-mt-2.5 -ml-px block w-2.5 text-line-strong" : "-mt-2.5 ml-auto block w-2.5 text-line-strong"}
        >
          <svg viewBox="0 0 10 10" className="block size-2.5" aria-hidden="true">
            <path d={back ? "M10 0 L1 5 L10 10 Z" : "M0 0 L9 5 L0 10 Z"} fill="currentColor" />
          </svg>
        </span>
      </div>
      {note && (
        <p className="mt-1 flex justify-end">
          <span className="w-28 bg-surface py-1 text-center text-xs leading-4 text-soft sm:w-40">{note}</span>
        </p>
      )}
    </li>
  );
}
