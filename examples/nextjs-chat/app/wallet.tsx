"use client";

import { QuotaBalance, QuotaConnectButton, useQuota } from "@usequota/nextjs";

/** The wallet in the header. Without one, the button stands where the chat would be. */
export function Wallet() {
  const { status } = useQuota();
  if (status !== "connected") return <div className="wallet" />;
  return (
    <div className="wallet">
      <QuotaBalance exact />
      <QuotaConnectButton />
    </div>
  );
}
