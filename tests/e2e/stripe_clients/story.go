// What Stripe's own client for Go sees of a payment's life: one JSON object a line, the same as story.py and story.js.
//
//	story STRIPE_URL SECRET_KEY
//
// Change together with: story.py, story.js, and test_stripe_clients.py, which says what each line must hold.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/stripe/stripe-go/v85"
)

const (
	amount    = 1999
	returnURL = "https://shop.example/back"
)

type seen map[string]any

type story struct {
	client *stripe.Client
	ctx    context.Context
	made   []string
}

func main() {
	backends := stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL:               stripe.String(os.Args[1]),
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	told := &story{client: stripe.NewClient(os.Args[2], stripe.WithBackends(backends)), ctx: context.Background()}
	told.pays()
	told.authenticates()
	told.isDeclinedAndPaysWithAnotherCard()
	told.cancels()
	told.repeatsAndMisses()
	told.lists()
}

func (s *story) pays() {
	created := s.create("order-paid", "")
	say("create", seen{
		"status":   created.Status,
		"amount":   created.Amount,
		"currency": created.Currency,
		"order":    created.Metadata["orderId"],
		"group":    created.TransferGroup,
		"secret":   strings.HasPrefix(created.ClientSecret, created.ID+"_secret_"),
		"charge":   created.LatestCharge,
	})
	params := confirmation("pm_card_visa")
	params.AddExpand("latest_charge")
	paid := must(s.client.V1PaymentIntents.Confirm(s.ctx, created.ID, params))
	charge := paid.LatestCharge
	say("pay", seen{
		"status":   paid.Status,
		"received": paid.AmountReceived,
		"paid":     charge.Paid,
		"intent":   charge.PaymentIntent.ID == paid.ID,
		"brand":    charge.PaymentMethodDetails.Card.Brand,
		"last4":    charge.PaymentMethodDetails.Card.Last4,
	})
	refund := must(s.client.V1Refunds.Create(s.ctx, &stripe.RefundCreateParams{PaymentIntent: stripe.String(paid.ID)}))
	again := must(s.client.V1Charges.Retrieve(s.ctx, charge.ID, nil))
	say("refund", seen{
		"status":     refund.Status,
		"amount":     refund.Amount,
		"charge":     refund.Charge.ID == charge.ID,
		"refunded":   again.Refunded,
		"given_back": again.AmountRefunded,
	})
	var refunds []string
	for each, err := range s.client.V1Refunds.List(s.ctx, &stripe.RefundListParams{PaymentIntent: stripe.String(paid.ID)}).All(s.ctx) {
		refunds = append(refunds, must(each, err).ID)
	}
	say("refunds", seen{"same": slices.Equal(refunds, []string{refund.ID})})
}

func (s *story) authenticates() {
	for _, verdict := range []string{"complete", "fail"} {
		created := s.create("order-"+verdict, "")
		params := confirmation("pm_card_threeDSecure2Required")
		params.ReturnURL = stripe.String(returnURL)
		asked := must(s.client.V1PaymentIntents.Confirm(s.ctx, created.ID, params))
		say("ask "+verdict, seen{"status": asked.Status, "next": asked.NextAction.Type, "charge": asked.LatestCharge})
		answerBank(asked.NextAction.RedirectToURL.URL, verdict)
		done := must(s.client.V1PaymentIntents.Retrieve(s.ctx, created.ID, nil))
		var code any
		if done.LastPaymentError != nil {
			code = done.LastPaymentError.Code
		}
		say("bank "+verdict, seen{
			"status":  done.Status,
			"next":    done.NextAction,
			"code":    code,
			"charged": done.LatestCharge != nil && done.Status == stripe.PaymentIntentStatusSucceeded,
		})
	}
}

func (s *story) isDeclinedAndPaysWithAnotherCard() {
	created := s.create("order-declined", "")
	_, err := s.client.V1PaymentIntents.Confirm(s.ctx, created.ID, confirmation("pm_card_visa_chargeDeclined"))
	declined := refusal(err)
	say("decline", seen{
		"http":         declined.HTTPStatusCode,
		"type":         declined.Type,
		"code":         declined.Code,
		"decline_code": declined.DeclineCode,
		"intent":       declined.PaymentIntent.ID == created.ID,
		"status":       declined.PaymentIntent.Status,
	})
	paid := must(s.client.V1PaymentIntents.Confirm(s.ctx, created.ID, confirmation("pm_card_mastercard")))
	var charges []string
	for each, err := range s.client.V1Charges.List(s.ctx, &stripe.ChargeListParams{PaymentIntent: stripe.String(created.ID)}).All(s.ctx) {
		charges = append(charges, string(must(each, err).Status))
	}
	say("another card", seen{"status": paid.Status, "charges": charges})
}

func (s *story) cancels() {
	created := s.create("order-cancelled", "")
	cancelled := must(s.client.V1PaymentIntents.Cancel(s.ctx, created.ID, &stripe.PaymentIntentCancelParams{
		CancellationReason: stripe.String("abandoned"),
	}))
	say("cancel", seen{"status": cancelled.Status, "reason": cancelled.CancellationReason})
	_, err := s.client.V1PaymentIntents.Confirm(s.ctx, created.ID, confirmation("pm_card_visa"))
	refused := refusal(err)
	say("confirm a cancelled one", seen{"http": refused.HTTPStatusCode, "code": refused.Code})
}

func (s *story) repeatsAndMisses() {
	first, second := s.create("order-twice", "create-twice"), s.create("order-twice", "create-twice")
	s.made = s.made[:len(s.made)-1]
	say("same key", seen{"same": first.ID == second.ID})
	_, err := s.client.V1PaymentIntents.Retrieve(s.ctx, "pi_missing", nil)
	missing := refusal(err)
	say("missing", seen{"http": missing.HTTPStatusCode, "code": missing.Code})
}

func (s *story) lists() {
	params := &stripe.PaymentIntentListParams{}
	params.Limit = stripe.Int64(2)
	var listed []string
	for each, err := range s.client.V1PaymentIntents.List(s.ctx, params).All(s.ctx) {
		listed = append(listed, must(each, err).ID)
	}
	slices.Reverse(s.made)
	say("list", seen{"newest_first": slices.Equal(listed, s.made), "count": len(listed)})
}

func (s *story) create(order, key string) *stripe.PaymentIntent {
	params := &stripe.PaymentIntentCreateParams{
		Amount:   stripe.Int64(amount),
		Currency: stripe.String("usd"),
		AutomaticPaymentMethods: &stripe.PaymentIntentCreateAutomaticPaymentMethodsParams{
			Enabled:        stripe.Bool(true),
			AllowRedirects: stripe.String("never"),
		},
		Metadata:      map[string]string{"orderId": order},
		TransferGroup: stripe.String(order),
	}
	if key == "" {
		key = "create-" + order
	}
	params.SetIdempotencyKey(key)
	created := must(s.client.V1PaymentIntents.Create(s.ctx, params))
	s.made = append(s.made, created.ID)
	return created
}

func confirmation(method string) *stripe.PaymentIntentConfirmParams {
	return &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String(method)}
}

// answerBank presses a button of the bank's page: "complete" or "fail".
func answerBank(url, verdict string) {
	request := must(http.NewRequest(http.MethodPost, url+"/"+verdict, nil))
	request.Header.Set("Accept", "application/json") // a browser would be sent on to the return URL
	answer := must(http.DefaultClient.Do(request))
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusBadRequest {
		panic(fmt.Sprintf("the bank's page answered %d", answer.StatusCode))
	}
}

// refusal is the error that Stripe answered a request with; any other end of the request ends the program.
func refusal(err error) *stripe.Error {
	var refused *stripe.Error
	if !errors.As(err, &refused) {
		panic(fmt.Sprintf("not refused by Stripe: %v", err))
	}
	return refused
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func say(step string, what seen) {
	what["step"] = step
	line := must(json.Marshal(what))
	fmt.Println(string(line))
}
