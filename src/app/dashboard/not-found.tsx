import Link from "next/link";
import { Button } from "#ui/button.tsx";
import { MessagePage } from "#ui/message-page.tsx";

export default function NotFound() {
  return (
    <MessagePage
      title="You have no such app"
      actions={
        <Button asChild>
          <Link href="/dashboard">Your apps</Link>
        </Button>
      }
    >
      <p>The address may be mistyped, or the app belongs to another account than the one you are signed in with.</p>
    </MessagePage>
  );
}
