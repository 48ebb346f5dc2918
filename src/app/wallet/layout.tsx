import type { ReactNode } from "react";
import { currentUser } from "#server/people/auth.ts";
import { TRPCProvider } from "#trpc/client.tsx";
import { NavLink } from "#ui/nav-link.tsx";
import { SiteFrame } from "#ui/site-frame.tsx";

export default async function Layout({ children }: { children: ReactNode }) {
  return (
    <SiteFrame user={await currentUser()}>
      <nav aria-label="Wallet" className="mx-auto flex w-full max-w-[42.5rem] gap-1 px-1 pt-6 sm:px-3">
        <NavLink href="/wallet" exact>
          Balance and apps
        </NavLink>
        <NavLink href="/wallet/top-ups" also="/wallet/receipts">
          Top-ups
        </NavLink>
        <NavLink href="/wallet/security">Security</NavLink>
      </nav>
      <TRPCProvider>{children}</TRPCProvider>
    </SiteFrame>
  );
}
