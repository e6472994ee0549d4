// Written by names.py (python -m decloud_pl.localnet.program.build): do not edit.
#pragma once

// Anchor discriminators: the first eight bytes of sha256("<namespace>:<name>"), as a little-endian number.
#define INSTRUCTION_INITIALIZE 0xed9b980d1f6dafafUL
#define INSTRUCTION_CREATE_ROUND 0x708650e7a9ecdae5UL
#define INSTRUCTION_CANCEL_ROUND 0x0894602e36864652UL
#define INSTRUCTION_CLAIM_ROUND 0xc80ecdba631749b4UL
#define INSTRUCTION_JOIN_ROUND 0xf99daeea1956debfUL
#define INSTRUCTION_START_TRAINING 0xc073b4b31b0bdcc8UL
#define INSTRUCTION_SUBMIT_GRADIENTS 0x36efddfbd13f8b1cUL
#define INSTRUCTION_SET_CONTRIBUTION 0xf2b4b4f2ae17b1e5UL
#define INSTRUCTION_COMPLETE_VALIDATION 0x8cf3153e31fdfc76UL
#define INSTRUCTION_FINALIZE_ROUND 0x943590fe0bfea0efUL
#define INSTRUCTION_CLAIM_REWARD 0xa29e5a5ef2b55f95UL
#define INSTRUCTION_CLAIM_VALIDATOR_FEE 0x91fa393c57946310UL
#define INSTRUCTION_CHECK_ROUND 0xd8220589dd461f95UL
#define INSTRUCTION_ABORT_ROUND 0xd096cf6cc62fa50fUL
#define ACCOUNT_ROUND 0xae744e4933a57f57UL
#define ACCOUNT_SUBMISSION 0xc5b2664b9e9fc23aUL
#define ACCOUNT_ROUND_COUNTER 0xee010aa8f0a502f4UL
#define EVENT_ROUND_CREATED 0x7c07c65775441310UL
#define EVENT_VALIDATOR_CLAIMED 0x3defb797c1f06790UL
#define EVENT_TRAINER_JOINED 0x5659b1b886c40a2cUL
#define EVENT_TRAINING_STARTED 0x52bd596c31d20371UL
#define EVENT_GRADIENTS_SUBMITTED 0x0dbbfd918780b8ecUL
#define EVENT_TRAINING_ENDED 0xbb545dca739f3318UL
#define EVENT_VALIDATION_COMPLETED 0x94f1ae17c61ccd4aUL
#define EVENT_ROUND_FINALIZED 0x5230f124c111bb2bUL
#define EVENT_REWARD_CLAIMED 0xafe5309e54571c31UL
#define EVENT_VALIDATOR_FEE_CLAIMED 0xfb55fffb1e38b410UL
#define EVENT_ROUND_EXPIRED 0x26467c5cad59785dUL
#define EVENT_ROUND_CANCELLED 0x070f9eb6af698deeUL
#define EVENT_ROUND_ABORTED 0x4c45558541a1a05aUL

enum { VALIDATOR_SECONDS = 3600 };
enum { JOIN_SECONDS = 600 };
enum { START_SECONDS = 3600 };
enum { SUBMIT_SECONDS = 3600 };
enum { VALIDATION_SECONDS = 604800 };
#define TREASURY_KEY { 222, 216, 192, 186, 66, 74, 175, 161, 255, 148, 53, 162, 61, 24, 216, 169, 186, 69, 111, 113, 100, 193, 132, 169, 19, 242, 115, 251, 7, 105, 17, 133 }

enum { DATASET_COUNT = 99, DATASET_NAME_CAPACITY = 20 };
#define DATASET_NAMES \
  { \
    "Cifar10", "Cifar100", "Mnist", "FashionMnist", "Emnist", \
    "Kmnist", "Food101", "Flowers102", "StanfordDogs", "StanfordCars", \
    "OxfordPets", "CatsVsDogs", "Eurosat", "Svhn", "Caltech101", \
    "Caltech256", "Imdb", "Sst2", "Sst5", "YelpReviews", \
    "AmazonPolarity", "RottenTomatoes", "FinancialSentiment", "TweetSentiment", "AgNews", \
    "Dbpedia", "YahooAnswers", "TwentyNewsgroups", "SmsSpam", "HateSpeech", \
    "CivilComments", "Toxicity", "ClincIntent", "Banking77", "SnipsIntent", \
    "Conll2003", "Wnut17", "Squad", "SquadV2", "TriviaQa", \
    "BoolQ", "CommonsenseQa", "Stsb", "Mrpc", "Qqp", \
    "Snli", "Mnli", "CnnDailymail", "Xsum", "Samsum", \
    "SpeechCommands", "Librispeech", "CommonVoice", "Gtzan", "Esc50", \
    "Urbansound8k", "Nsynth", "Ravdess", "CremaD", "Iemocap", \
    "Iris", "Wine", "Diabetes", "BreastCancer", "CaliforniaHousing", \
    "AdultIncome", "BankMarketing", "CreditDefault", "Titanic", "HeartDisease", \
    "ChestXray", "SkinCancer", "DiabeticRetinopathy", "BrainTumor", "Malaria", \
    "BloodCells", "CovidXray", "PubmedQa", "MedQa", "Electricity", \
    "Weather", "StockPrices", "EcgHeartbeat", "CodeSearchNet", "Humaneval", \
    "Mbpp", "Spider", "Cora", "Citeseer", "Qm9", \
    "NslKdd", "CreditCardFraud", "Phishing", "Movielens1m", "Movielens100k", \
    "Xnli", "AmazonReviewsMulti", "Sberquad", "Custom", \
  }
