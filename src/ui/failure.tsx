"use client";

import { MessagePage } from "./message-page.tsx";

/** What a page shows that could not be made. `digest` is what the server's log calls it. */
export function Failure({ error, retry }: { error: unknown; retry: () => void }) {
  const digest = error instanceof Error && "digest" in error ? String(error.digest) : null;
  return (
    <MessagePage
      title="This page could not be loaded"
      actions={
        // Every page brings this one along, so it does without the button's code.
        <button
          type="button"
          onClick={() => retry()}
          className="inline-flex h-10 items-center rounded-md bg-accent px-4 text-sm font-medium text-on-accent hover:bg-accent-hover"
        >
          Try again
        </button>
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
