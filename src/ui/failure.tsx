"use client";

import { Button } from "./button.tsx";
import { MessagePage } from "./message-page.tsx";

/** What a page shows that could not be made. `digest` is what the server's log calls it. */
export function Failure({ error, retry }: { error: unknown; retry: () => void }) {
  const digest = error instanceof Error && "digest" in error ? String(error.digest) : null;
  return (
    <MessagePage
      title="This page could not be loaded"
      actions={
        <Button kind="primary" onClick={() => retry()}>
          Try again
        </Button>
      }
    >
      <p>The fault is on our side, and nothing was changed. Try again in a moment.</p>
      {digest && (
        <p className="mt-2 text-sm">
          If it goes on, tell whoever runs this server: <code className="font-mono">{digest}</code>
        </p>
      )}
    </MessagePage>
  );
}
