"use client";

import Link from "next/link";
import { useParams } from "next/navigation";
import { Button } from "#ui/button.tsx";
import { MessagePage } from "#ui/message-page.tsx";

/** Within an app of this person: the app is there, what is asked for is not. */
export default function NotFound() {
  const { appId } = useParams<{ appId: string }>();
  return (
    <MessagePage
      title="There is nothing here"
      actions={
        <Button asChild>
          <Link href={`/dashboard/${appId}`}>Overview</Link>
        </Button>
      }
    >
      <p>The address may be mistyped, or what was here is gone, such as an endpoint that was removed or a person who was unlinked.</p>
    </MessagePage>
  );
}
