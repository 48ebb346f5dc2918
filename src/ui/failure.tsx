"use client";

import { MessagePage } from "./message-page.tsx";

/** Shown in place of a page that failed. `digest` is the error's name in the server's log. */
export function Failure({ error, retry }: { error: unknown; retry: () => void }) {
  const digest = error instanceof Error && "digest" in error ? String(error.digest) : null;
  return (
    <MessagePage
      title="This page could not be loaded"
      actions={
        // A plain button, because every page loads this component, and `Button` would add its code to all.
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
