// A stand-in for Stripe.js (https://docs.stripe.com/js) that talks to the Stripe sandbox: the functions that shop.js
// calls, with their names, parameters and results. Where Stripe.js takes an Element, this one takes a card's number.
//
// Card numbers go to Stripe alone, never to the shop's server or to the service: as with Stripe.js. A real page loads
// https://js.stripe.com/v3/ instead, and changes nothing else but the card's form.

'use strict'

window.Stripe = function (publishableKey) {
  const API = '/stripe/v1/'
  const ASK_AGAIN_MS = 300 // how often the intent is read while the bank's page is open

  async function call (method, path, fields) {
    const form = new URLSearchParams(fields)
    const reads = method === 'GET'
    const answer = await fetch(API + path + (reads ? `?${form}` : ''), {
      method,
      headers: { Authorization: `Bearer ${publishableKey}` },
      body: reads ? undefined : form
    })
    return { ok: answer.ok, body: await answer.json() }
  }

  async function make (name, path, fields) {
    const { ok, body } = await call('POST', path, fields)
    return ok ? { [name]: body } : { error: body.error }
  }

  const cardFields = (prefix, card) => ({
    [`${prefix}[number]`]: card.number,
    [`${prefix}[exp_month]`]: card.exp_month,
    [`${prefix}[exp_year]`]: card.exp_year,
    [`${prefix}[cvc]`]: card.cvc
  })

  const createToken = (card) => make('token', 'tokens', cardFields('card', card))

  const createPaymentMethod = ({ card }) => make('paymentMethod', 'payment_methods', {
    type: 'card', ...cardFields('card', card)
  })

  const createConfirmationToken = ({ card }) => make('confirmationToken', 'confirmation_tokens', {
    'payment_method_data[type]': 'card', ...cardFields('payment_method_data[card]', card)
  })

  async function retrievePaymentIntent (clientSecret) {
    const id = clientSecret.split('_secret_')[0]
    const { ok, body } = await call('GET', `payment_intents/${id}`, { client_secret: clientSecret })
    return ok ? { paymentIntent: body } : { error: body.error }
  }

  // Shows the bank's page in a dialog until the intent no longer waits for its customer. Resolves with the intent, or
  // with an error where the customer failed or closed the dialog, or the intent was cancelled in the meantime. Throws where
  // the intent has no next action.
  async function handleNextAction ({ clientSecret }) {
    let found = await retrievePaymentIntent(clientSecret)
    if (found.error) return found
    if (found.paymentIntent.status !== 'requires_action') throw new Error('The PaymentIntent has no next action.')
    const dialog = openDialog(bankAddress(found.paymentIntent.next_action))
    try {
      while (!found.error && found.paymentIntent.status === 'requires_action') {
        if (!dialog.open) return { error: { code: 'customer_closed', message: 'The dialog was closed.' } }
        await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS))
        found = await retrievePaymentIntent(clientSecret)
      }
    } finally {
      dialog.remove()
    }
    return outcome(found)
  }

  function outcome (found) {
    const intent = found.paymentIntent
    if (found.error) return found
    if (intent.status === 'requires_payment_method') {
      return { error: { ...intent.last_payment_error, payment_intent: intent } }
    }
    if (intent.status === 'canceled') {
      return { error: { code: 'payment_intent_unexpected_state', message: 'It was canceled.', payment_intent: intent } }
    }
    return { paymentIntent: intent }
  }

  const bankAddress = (next) => next.type === 'redirect_to_url' ? next.redirect_to_url.url : next.use_stripe_sdk.stripe_js

  function openDialog (address) {
    const dialog = document.createElement('dialog')
    dialog.setAttribute('aria-label', 'Your bank')
    const frame = document.createElement('iframe')
    frame.title = 'Your bank'
    frame.src = address
    const close = document.createElement('button')
    close.textContent = 'Not now'
    close.addEventListener('click', () => dialog.close())
    dialog.append(frame, close)
    document.body.append(dialog)
    dialog.showModal()
    return dialog
  }

  return { createToken, createPaymentMethod, createConfirmationToken, retrievePaymentIntent, handleNextAction }
}
