import type { ReactNode } from "react";
import { currentUser } from "#server/people/auth.ts";
import { SiteFooter } from "#ui/site-footer.tsx";
import { SiteFrame } from "#ui/site-frame.tsx";

export default async function Layout({ children }: { children: ReactNode }) {
  return (
    <SiteFrame user={await currentUser()} footer={<SiteFooter />}>
      {children}
    </SiteFrame>
  );
}
