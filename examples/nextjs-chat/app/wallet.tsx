"use client";

import { QuotaBalance, QuotaConnectButton, useQuota } from "@usequota/nextjs";

/** The wallet in the header. Without a connected wallet, the Connect button is in the chat's place. */
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
