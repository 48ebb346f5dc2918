import type { ReactNode } from "react";
import { TRPCProvider } from "#trpc/client.tsx";

export default function Layout({ children }: { children: ReactNode }) {
  return <TRPCProvider>{children}</TRPCProvider>;
}
