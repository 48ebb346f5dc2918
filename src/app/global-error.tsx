"use client";

import { Failure } from "#ui/failure.tsx";
import "./globals.css";

/** For a failure in the root layout, which this page then replaces. */
export default function GlobalError(props: { error: unknown; retry: () => void }) {
  return (
    <html lang="en">
      <body className="flex min-h-dvh flex-col font-sans">
        <title>Quota</title>
        <Failure {...props} />
      </body>
    </html>
  );
}
