import type { Metadata } from "next";
import Link from "next/link";
import { isPayable, sandboxCheckout, sandboxToken } from "#server/payments/sandbox.ts";
import { requireUser } from "#server/people/auth.ts";
import { caller } from "#server/trpc/caller.ts";
import { Button } from "#ui/button.tsx";
import { Fact, Facts } from "#ui/card.tsx";
import { Mark } from "#ui/mark.tsx";
import { MessagePage } from "#ui/message-page.tsx";
import { Money } from "#ui/money.tsx";

export const metadata: Metadata = { title: "Sandbox checkout", robots: { index: false }, referrer: "no-referrer" };

/** The page of the sandbox checkout. It says plainly that no money moves. */
export default async function SandboxCheckout({ params }: { params: Promise<{ id: string }> }) {
  const { id } = await params;
  const page = `/checkout/${encodeURIComponent(id)}`;
  const user = await requireUser(page);
  const checkout = await sandboxCheckout(id, user.id);
  if (checkout === null) {
    return (
      <main className="flex flex-1 flex-col">
        <MessagePage
          title="There is no checkout here for you"
          actions={
            <Button asChild>
              <Link href="/wallet">Go to your wallet</Link>
            </Button>
          }
        >
          <p>
            You are signed in as {user.email}. If it was opened for another account of yours, sign out and in again as that one. Otherwise
            go back to where you came from and begin again.
          </p>
        </MessagePage>
      </main>
    );
  }
  if (!isPayable(checkout)) {
    return (
      <main className="flex flex-1 flex-col">
        <MessagePage
          title={checkout.status === "paid" ? "These credits were added" : "This checkout is over"}
          actions={
            <Button asChild kind="primary">
              <Link href="/wallet">Go to your wallet</Link>
            </Button>
          }
        >
          <p>
            {checkout.status === "paid"
              ? "They are in your wallet. A checkout adds its credits once."
              : "It was cancelled, or took too long. Nothing was added. Begin again where you came from, or in your wallet."}
          </p>
        </MessagePage>
      </main>
    );
  }
  const { available } = await (await caller()).wallet.balance();
  const returnHost = new URL(checkout.returnUrl).host;
  return (
    <main className="mx-auto flex w-full max-w-md flex-1 flex-col justify-center px-4 py-6 sm:py-10">
      <div className="rounded-xl border border-line bg-surface p-5 sm:p-8">
        <Mark size={36} />
        <h1 className="mt-5 text-xl font-semibold tracking-tight">Add credits to your wallet</h1>
        <p className="mt-4 rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">
          <strong className="font-semibold">Sandbox: no money moves.</strong> This server has no payment provider, so the credits are for
          trying things out and nothing is charged.
        </p>
        <p className="mt-6 text-4xl font-semibold tracking-tight">
          <Money credits={checkout.amount} />
        </p>
        <div className="mt-4">
          <Facts>
            <Fact name="Wallet">{user.email}</Fact>
            <Fact name="Balance now">
              <Money credits={available} />
            </Fact>
            <Fact name="You pay">Nothing</Fact>
          </Facts>
        </div>
        <form action={`${page}/pay`} method="post" className="mt-6">
          <input type="hidden" name="token" value={await sandboxToken(id, user.id)} />
          <div className="flex flex-row-reverse gap-3">
            <Button type="submit" name="answer" value="pay" kind="primary" className="flex-1">
              Add credits
            </Button>
            <Button type="submit" name="answer" value="cancel" className="flex-1">
              Cancel
            </Button>
          </div>
        </form>
        <p className="mt-4 text-sm text-soft [overflow-wrap:anywhere]">You return to {returnHost}.</p>
      </div>
    </main>
  );
}
