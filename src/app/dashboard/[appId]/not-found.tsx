import type { Metadata } from "next";
import { MessagePage } from "#ui/message-page.tsx";
import { ToOverview } from "./to-overview.tsx";

export const metadata: Metadata = { title: "Nothing here" };

/** For a page that does not exist within an app that does. */
export default function NotFound() {
  return (
    <MessagePage title="There is nothing here" actions={<ToOverview />}>
      <p>The address may be mistyped, or what was here is gone, such as an endpoint that was removed or a person who was unlinked.</p>
    </MessagePage>
  );
}
