import { caller } from "#server/trpc/caller.ts";
import { Money } from "#ui/money.tsx";

/** Explains why a wallet with a debt has nothing to spend although credits came in. */
export async function Frozen() {
  const debt = await (await caller()).payments.debt();
  if (debt === 0n) return null;
  return (
    <p role="alert" className="mb-4 rounded-md bg-danger-wash px-3 py-2 text-sm text-danger">
      <strong className="font-semibold">Your wallet is frozen.</strong> A top-up was refunded or disputed after its credits were spent, and{" "}
      <Money credits={debt} className="font-semibold" /> of it are open. Credits that come in repay that first; then apps can use your
      wallet again.
    </p>
  );
}
