import type { Metadata } from "next";
import Link from "next/link";
import { currentUser } from "#server/people/auth.ts";
import { mailGoes } from "#server/platform/mail.ts";
import { EntryPage } from "#ui/entry-page.tsx";
import { ForgotForm } from "./forgot-form.tsx";

export const metadata: Metadata = { title: "Forgot your password" };

export default async function ForgotPassword() {
  const mail = mailGoes();
  return (
    <EntryPage
      title="Set a new password"
      below={
        <p>
          <Link href="/sign-in" className="prose-link">
            Back to sign in
          </Link>
        </p>
      }
    >
      {mail === "nowhere" ? (
        <p className="mt-4 rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">
          This server cannot send mail yet, so passwords cannot be reset. Whoever runs it has to set SMTP_URL.
        </p>
      ) : (
        <>
          <p className="mt-1 text-soft">We send you a link by mail.</p>
          <ForgotForm email={(await currentUser())?.email ?? ""} mailIsPrinted={mail === "to the output"} />
        </>
      )}
    </EntryPage>
  );
}
