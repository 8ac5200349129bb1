
board({ cards: new Cards($("#servers")), feed: new Feed($("#feed"), () => true, 20), url: `${here}events` });
