import type { ReactNode } from "react";
import { currentUser } from "#server/people/auth.ts";
import { TRPCProvider } from "#trpc/client.tsx";
import { SiteFrame } from "#ui/site-frame.tsx";

export default async function Layout({ children }: { children: ReactNode }) {
  return (
    <SiteFrame user={await currentUser()}>
      <TRPCProvider>{children}</TRPCProvider>
    </SiteFrame>
  );
}
