import Link from "next/link";
import type { ReactNode } from "react";
import { ToldOnce } from "./told-once.tsx";

/** The outcome of the checkout that the user returns from. */
export function CheckoutOutcome({ outcome }: { outcome: string | string[] | undefined }) {
  const told = inWords(outcome);
  return (
    told !== null && (
      <>
        {told}
        <ToldOnce parameter="quota_checkout" />
      </>
    )
  );
}

function inWords(outcome: string | string[] | undefined): ReactNode {
  if (outcome === "paid") {
    return (
      <p role="status" className="mb-4 rounded-md bg-accent-wash px-3 py-2 text-sm text-accent">
        The credits are in your wallet. Their receipt is under{" "}
        <Link href="/wallet/top-ups" className="prose-link">
          Top-ups
        </Link>
        .
      </p>
    );
  }
  if (outcome === "processing") {
    return (
      <p role="status" className="mb-4 rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">
        Your payment is on its way. The credits appear as soon as it arrives; there is nothing more to do.
      </p>
    );
  }
  if (outcome === "cancelled") {
    return (
      <p role="status" className="mb-4 rounded-md bg-sunken px-3 py-2 text-sm">
        Nothing was charged and nothing was added.
      </p>
    );
  }
  return null;
}
