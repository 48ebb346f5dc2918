import type { Metadata } from "next";
import Link from "next/link";
import { resetIsOpen } from "#server/people/account.ts";
import { Button } from "#ui/button.tsx";
import { EntryPage } from "#ui/entry-page.tsx";
import { ResetForm } from "./reset-form.tsx";

// The address contains the reset token, which no other site may get in a Referer header.
export const metadata: Metadata = { title: "Set a new password", referrer: "no-referrer" };

export default async function ResetPassword({ searchParams }: { searchParams: Promise<{ token?: string | string[] }> }) {
  const { token } = await searchParams;
  if (typeof token !== "string" || token.length > 200 || !(await resetIsOpen(token))) {
    return (
      <EntryPage title="This link does not work any more">
        <p className="mt-1 text-soft">It works once, for an hour after it was sent.</p>
        <Button asChild kind="primary" className="mt-6">
          <Link href="/forgot-password">Ask for a new link</Link>
        </Button>
      </EntryPage>
    );
  }
  return (
    <EntryPage title="Set a new password">
      <p className="mt-1 text-soft">You are signed out everywhere else.</p>
      <ResetForm token={token} />
    </EntryPage>
  );
}
