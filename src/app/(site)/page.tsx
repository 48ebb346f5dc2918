import { ArrowRight } from "lucide-react";
import Link from "next/link";
import type { ReactNode } from "react";
import { publicUrl } from "#env";
import { currentUser } from "#server/people/auth.ts";
import { Button } from "#ui/button.tsx";
import { CodeBlock } from "#ui/code-block.tsx";
import { Curl } from "#ui/curl.tsx";
import { FlowDiagram } from "#ui/flow-diagram.tsx";
import { Screenshot } from "./screenshot.tsx";

const ANSWER = `{
  "choices": [{ "message": { "content": "Hello! …" } }],
  "usage": { "prompt_tokens": 8, "completion_tokens": 43 },
  "quota": {
    "credits_used": 33,
    "balance_after": 9999967,
    "billing_mode": "user",
    "external_user_id": "user_123"
  }
}`;

export default async function Home() {
  const user = await currentUser();
  return (
    <div className="mx-auto w-full max-w-6xl px-4 pb-16 sm:px-6">
      <div className="grid items-center gap-8 pt-8 lg:grid-cols-[minmax(0,11fr)_minmax(0,13fr)] lg:gap-16 lg:pt-12">
        <div className="min-w-0">
          <h1 className="text-balance text-4xl font-semibold leading-[1.1] tracking-tight sm:text-5xl">One wallet for every AI app</h1>
          <p className="mt-5 max-w-lg text-pretty text-lg leading-7 text-soft">
            With Quota the person who uses an AI app pays for its inference, from one balance, up to a limit they set. The developer carries
            no bill for models, and earns a markup.
          </p>
          <div className="mt-7 flex flex-wrap gap-3">
            <Button asChild kind="primary">
              <Link prefetch={false} href={user ? "/wallet" : "/sign-up"}>
                {user ? "Open your wallet" : "Make a wallet"}
              </Link>
            </Button>
            <Button asChild>
              <Link prefetch={false} href="/docs/quickstart">
                Quickstart for developers
              </Link>
            </Button>
          </div>
        </div>
        <div className="min-w-0">
          <FlowDiagram />
        </div>
      </div>

      <div className="mt-10 grid gap-x-8 gap-y-7 border-t border-line pt-8 md:grid-cols-3 lg:mt-12">
        <Reader title="You have a wallet" href="/wallet" action="Open your wallet">
          Connect it to an app and say what the app may spend in a month. Every request has a receipt. You pause or end it in your wallet.
        </Reader>
        <Reader title="You have an app" href="/docs/connect-wallet" action="Add Connect Wallet">
          Keep your OpenAI client and change its address. Send your own id for the person; Quota bills their wallet, and your markup
          collects as earnings.
        </Reader>
        <Reader title="You run a server" href="/docs/self-hosting" action="Run your own">
          <code className="font-mono text-[0.85em]">npm ci && npm start</code>: one process with a database inside, or as many as you like
          on one Postgres. MIT licence.
        </Reader>
      </div>

      <Heading>A request that somebody else pays for</Heading>
      <p className="mt-2 max-w-2xl text-soft">
        It is the OpenAI API, and one more header. What a request may cost is set aside before a model is asked; what it did cost is in the
        answer. One credit is a millionth of a dollar.
      </p>
      <div className="mt-6 grid gap-6 lg:grid-cols-2">
        <Curl origin={publicUrl()} />
        <div className="min-w-0 rounded-lg border border-line bg-surface">
          <p className="flex h-[2.8125rem] items-center border-b border-line px-4 text-sm font-medium">The answer, abridged</p>
          <CodeBlock label="The answer" className="rounded-t-none">
            {ANSWER}
          </CodeBlock>
        </div>
      </div>

      <Heading>What people see</Heading>
      <div className="mt-6 grid gap-x-8 gap-y-10 sm:grid-cols-2 lg:grid-cols-[minmax(0,1fr)_minmax(0,1fr)_minmax(0,2fr)]">
        <Screenshot name="consent" width={880} height={1720} alt="The consent page: what the app may do, a monthly limit, Cancel and Allow">
          Whoever connects a wallet reads what an app may do and sets the most it may spend.
        </Screenshot>
        <Screenshot name="wallet" width={880} height={1720} alt="A wallet: the balance, a connected app with its limit, and what was spent">
          The wallet has the balance, the connected apps, and a receipt for each request.
        </Screenshot>
        <Screenshot
          name="dashboard"
          width={1600}
          height={1280}
          alt="The dashboard: requests, linked users, earnings and a chart of 30 days"
        >
          The developer sees requests, people and earnings.
        </Screenshot>
      </div>

      <Heading>What holds on every path</Heading>
      <ul className="mt-5 grid gap-x-8 gap-y-5 sm:grid-cols-2 lg:grid-cols-4">
        <Guarantee title="Never below zero">
          A wallet and a person's limit are held together, so parallel requests can't pass either.
        </Guarantee>
        <Guarantee title="Nothing for nothing">When a model fails, nothing is billed. A request is billed at most once.</Guarantee>
        <Guarantee title="No tokens to keep">The link is stored here. Your server sends its key and your own id for the person.</Guarantee>
        <Guarantee title="Books that prove themselves">Every credit is in a journal that is only added to and sums to zero.</Guarantee>
      </ul>
      <p className="mt-8">
        <Link prefetch={false} href="/docs/billing" className="prose-link">
          What is billed when a stream breaks
        </Link>
        <span className="px-2 text-soft">·</span>
        <Link prefetch={false} href="/docs/security" className="prose-link">
          The security model
        </Link>
        <span className="px-2 text-soft">·</span>
        <Link prefetch={false} href="/docs/errors" className="prose-link">
          Every error
        </Link>
      </p>
    </div>
  );
}

function Heading({ children }: { children: ReactNode }) {
  return <h2 className="mt-16 text-balance text-2xl font-semibold tracking-tight">{children}</h2>;
}

function Reader({ title, href, action, children }: { title: string; href: string; action: string; children: ReactNode }) {
  return (
    <section className="flex flex-col">
      <h2 className="font-semibold">{title}</h2>
      <p className="mt-1 flex-1 text-pretty text-soft">{children}</p>
      <p className="mt-2">
        <Link
          prefetch={false}
          href={href}
          className="inline-flex items-center gap-1 font-medium text-accent underline-offset-4 hover:underline"
        >
          {action}
          <ArrowRight size={15} aria-hidden="true" />
        </Link>
      </p>
    </section>
  );
}

function Guarantee({ title, children }: { title: string; children: ReactNode }) {
  return (
    <li>
      <h3 className="font-semibold">{title}</h3>
      <p className="mt-1 text-pretty text-soft">{children}</p>
    </li>
  );
}
