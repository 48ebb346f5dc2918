import type { Metadata } from "next";
import Link from "next/link";
import { redirect } from "next/navigation";
import { env, publicUrl } from "#env";
import { currentUser } from "#server/auth.ts";
import { callbackPath } from "#server/callback-path.ts";
import { mailGoes } from "#server/mail.ts";
import { configuredProviders } from "#server/sign-in-providers.ts";
import { dollars } from "#ui/amounts.ts";
import { EntryPage } from "#ui/entry-page.tsx";
import { ProviderButtons } from "../../sign-in/provider-buttons.tsx";
import { SignUpForm } from "./sign-up-form.tsx";

export const metadata: Metadata = { title: "Sign up" };

export default async function SignUp({ searchParams }: { searchParams: Promise<{ callbackUrl?: string | string[] }> }) {
  const goTo = callbackPath((await searchParams).callbackUrl, publicUrl(), "/wallet");
  if ((await currentUser()) !== null) redirect(goTo);
  const providers = configuredProviders().map(({ id }) => id);
  const mail = mailGoes();
  const gift = BigInt(env.QUOTA_WELCOME_CREDITS);
  return (
    <EntryPage
      title="Make an account"
      below={
        <p>
          You have one?{" "}
          <Link href={`/sign-in?callbackUrl=${encodeURIComponent(goTo)}`} className="prose-link">
            Sign in
          </Link>
        </p>
      }
    >
      <p className="mt-1 text-soft">
        One wallet for every AI app that takes Quota.{gift > 0n && ` It starts with ${dollars(gift)} from us.`}
      </p>
      <ProviderButtons providers={providers} goTo={goTo} />
      {mail === "nowhere" ? (
        <p className="mt-6 rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">
          This server cannot send mail yet, so nobody can sign up by email. Whoever runs it has to set SMTP_URL.
        </p>
      ) : (
        <SignUpForm goTo={goTo} mailIsPrinted={mail === "to the output"} />
      )}
    </EntryPage>
  );
}
