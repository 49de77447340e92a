def test_answers_an_api_call_and_records_it(emulator, client):
    assert client("sts").get_caller_identity()["Account"] == "123456789012"
    (call,) = emulator.control("GET", "calls")["calls"]
    assert (call["service"], call["operation"], call["caller"]) == ("sts", "GetCallerIdentity", "client")
