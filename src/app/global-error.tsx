"use client";

import { Failure } from "#ui/failure.tsx";
import "./globals.css";

/** For an error in the root layout, which this page replaces. */
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
