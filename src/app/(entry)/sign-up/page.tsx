import type { Metadata } from "next";
import Link from "next/link";
import { redirect } from "next/navigation";
import { env, publicUrl } from "#env";
import { dollars } from "#money";
import { currentUser } from "#server/people/auth.ts";
import { callbackPath } from "#server/people/callback-path.ts";
import { configuredProviders } from "#server/people/sign-in-providers.ts";
import { mailGoes } from "#server/platform/mail.ts";
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
      {mail === "nowhere" ? (
        <>
          <ProviderButtons providers={providers} goTo={goTo} />
          <p className="mt-6 rounded-md bg-warning-wash px-3 py-2 text-sm text-warning">
            This server cannot send mail yet, so nobody can sign up by email. Whoever runs it has to set SMTP_URL.
          </p>
        </>
      ) : (
        <SignUpForm goTo={goTo} providers={providers} mailIsPrinted={mail === "to the output"} />
      )}
    </EntryPage>
  );
}
