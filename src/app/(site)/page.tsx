import Link from "next/link";
import type { ReactNode } from "react";
import { publicUrl } from "#env";
import { currentUser } from "#server/auth.ts";
import { Button } from "#ui/button.tsx";
import { Curl } from "#ui/curl.tsx";
import { FlowDiagram } from "#ui/flow-diagram.tsx";

export default async function Home() {
  const user = await currentUser();
  return (
    <div className="mx-auto w-full max-w-6xl px-4 py-10 sm:px-6 lg:py-12">
      <div className="grid gap-10 lg:grid-cols-[minmax(0,1fr)_minmax(0,1fr)] lg:gap-14">
        <div className="min-w-0">
          <h1 className="text-balance text-4xl font-semibold leading-[1.1] tracking-tight sm:text-5xl">One wallet for every AI app</h1>
          <p className="mt-4 max-w-lg text-lg leading-7 text-soft">
            With Quota the person who uses an AI app pays for its inference, from one balance, up to a limit they set. The developer carries
            no bill for models, and earns a markup.
          </p>
          <div className="mt-6 flex flex-wrap gap-3">
            <Button asChild kind="primary">
              <Link href="/wallet">{user ? "Open your wallet" : "Sign in to your wallet"}</Link>
            </Button>
            <Button asChild>
              <Link href="/dashboard">Developer dashboard</Link>
            </Button>
          </div>
          <div className="mt-8">
            <Curl origin={publicUrl()} />
            <p className="mt-2 text-sm text-soft">
              The OpenAI API, and one more header. What can go wrong is in the{" "}
              <Link href="/docs/errors" className="prose-link">
                list of errors
              </Link>
              .
            </p>
          </div>
        </div>
        <div className="min-w-0 lg:pt-1">
          <FlowDiagram />
        </div>
      </div>
      <div className="mt-10 grid gap-6 border-t border-line pt-8 sm:grid-cols-3 sm:gap-8">
        <Reader title="If you use AI apps">
          Connect your wallet to an app and say how much it may spend in a month. Every request has a receipt, and no app sees more than you
          allow.
        </Reader>
        <Reader title="If you build one">
          Keep your OpenAI client and change its address. Send your own id for the person with each request; Quota finds their wallet, and
          your markup collects as earnings.
        </Reader>
        <Reader title="If you run a server">
          One process with a database inside, or as many as you like on one Postgres. Credits are reserved before a model is asked, and
          every one is in a journal that sums to zero.
        </Reader>
      </div>
    </div>
  );
}

function Reader({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <h2 className="font-semibold">{title}</h2>
      <p className="mt-1 text-soft">{children}</p>
    </section>
  );
}
