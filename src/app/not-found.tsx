import type { Metadata } from "next";
import Link from "next/link";
import { currentUser } from "#server/people/auth.ts";
import { Button } from "#ui/button.tsx";
import { MessagePage } from "#ui/message-page.tsx";
import { SiteFrame } from "#ui/site-frame.tsx";

export const metadata: Metadata = { title: "No such page" };

export default async function NotFound() {
  return (
    <SiteFrame user={await currentUser()}>
      <MessagePage
        title="There is no page here"
        actions={
          <Button asChild>
            <Link href="/">Go to the start</Link>
          </Button>
        }
      >
        <p>The address may be mistyped, or what was here is gone.</p>
      </MessagePage>
    </SiteFrame>
  );
}
