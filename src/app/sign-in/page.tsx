import type { Metadata } from "next";
import Link from "next/link";
import { redirect } from "next/navigation";
import { publicUrl } from "#env";
import { currentUser } from "#server/auth.ts";
import { callbackPath } from "#server/callback-path.ts";
import { Mark } from "#ui/mark.tsx";
import { SignInForm } from "./sign-in-form.tsx";

export const metadata: Metadata = { title: "Sign in" };

export default async function SignIn({ searchParams }: { searchParams: Promise<{ callbackUrl?: string | string[] }> }) {
  const goTo = callbackPath((await searchParams).callbackUrl, publicUrl(), "/wallet");
  if ((await currentUser()) !== null) redirect(goTo);
  return (
    <main className="mx-auto flex w-full max-w-sm flex-1 flex-col justify-center px-4 py-12">
      <Link href="/" aria-label="Quota, start page" className="self-start rounded-md">
        <Mark size={36} />
      </Link>
      <h1 className="mt-6 text-2xl font-semibold tracking-tight">Sign in to Quota</h1>
      <p className="mt-1 text-soft">One account for your wallet and your apps.</p>
      <SignInForm goTo={goTo} />
    </main>
  );
}
